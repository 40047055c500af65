// More than one OCI runtime under one roof.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openHandlers } from '../src/index.ts'
import { makeRuntime } from './runtime-fixture.ts'

const folder = mkdtempSync(join(tmpdir(), 'handlers-'))
const crun = join(folder, 'crun')
let f: Awaited<ReturnType<typeof makeRuntime>>

beforeAll(async () => {
  // On a machine with both hierarchies crun wants none of the second one's mount.
  const inside = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun "$@"'
  writeFileSync(crun, `#!/bin/sh\nexec unshare -m --propagation private sh -c '${inside}' crun "$@"\n`)
  chmodSync(crun, 0o755)
  f = await makeRuntime({ handlers: { runc: {}, crun: { path: crun } } })
})
afterAll(async () => {
  await f[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

test('a pod of a handler has its containers made, run, updated, stopped and removed by that', async () => {
  const { runtimeService } = f.runtime
  const config = f.pod()
  const { podSandboxId } = await runtimeService.runPodSandbox({ config, runtimeHandler: 'crun' })
  const container = f.container('c', 'echo hello; exec sleep 600')
  const { containerId } = await runtimeService.createContainer({
    podSandboxId,
    config: container,
    sandboxConfig: config,
  })
  await runtimeService.startContainer({ containerId })
  const cmd = ['/bin/sh', '-c', 'echo within; exit 3']
  const result = await runtimeService.execSync({ containerId, cmd, timeout: 10n })
  expect([result.exitCode, String(Buffer.from(result.stdout))]).toEqual([3, 'within\n'])
  await f.reopen()
  const again = f.runtime.runtimeService
  const { status, info } = await again.containerStatus({ containerId, verbose: true })
  expect(status?.state).toBe(1)
  expect((JSON.parse(info['info'] ?? '{}') as { runtimeType?: string }).runtimeType).toBe(crun)
  const { status: pod } = await again.podSandboxStatus({ podSandboxId, verbose: false })
  expect(pod?.runtimeHandler).toBe('crun')
  await again.stopContainer({ containerId, timeout: 0n })
  expect((await again.containerStatus({ containerId, verbose: false })).status?.exitCode).toBe(137)
  await again.removePodSandbox({ podSandboxId })
  expect(f.problems).toEqual([])
})

test('the handlers and what they can do are told by name, the default without one', async () => {
  const { runtimeHandlers } = await f.runtime.runtimeService.status({ verbose: false })
  expect(runtimeHandlers.map(({ name }) => name)).toEqual(['', 'crun', 'runc'])
  expect(runtimeHandlers[0]?.features).toEqual(runtimeHandlers[2]?.features)
  const run = f.runtime.runtimeService.runPodSandbox({ config: f.pod(), runtimeHandler: 'kata' })
  await expect(run).rejects.toThrow('no runtime for "kata" is configured')
})

test.each([
  [{ handlers: { runc: {} }, defaultHandler: 'crun' }, 'default handler "crun" is not configured'],
  [{ handlers: { runc: { path: 'no-such-runtime' } } }, 'no-such-runtime is not on the PATH'],
  [{ handlers: { 'Not Good': { path: 'runc' } } }, 'handler name "Not Good"'],
  [{ cgroupDriver: 'systemd' as const }, 'this machine does not run systemd'],
])('%j is refused', async (options, message) => {
  await expect(openHandlers(folder, options)).rejects.toThrow(message)
})

test.each(['--version', 'features'])('one that hangs at %s is named', async (call) => {
  const path = join(folder, 'hangs')
  writeFileSync(path, `#!/bin/sh\n[ "$1" = ${call} ] && sleep 600\nexec runc "$@"\n`)
  chmodSync(path, 0o755)
  await expect(openHandlers(folder, { handlers: { slow: { path, callLimitMs: 300 } } })).rejects.toThrow(
    `runtime handler slow: ${path} ${call} did not end within 0.3 s: see what it waits for, or take the handler away`,
  )
})
