// Checkpoints. criu must fit the kernel: where it does not, what it says is told, and the archive is tested with another
// program in criu's place, which writes one file instead of the processes.
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { dumpFailure } from '../src/checkpoint/dump-log.ts'
import { makeRuntime } from './runtime-fixture.ts'

const folder = mkdtempSync(join(tmpdir(), 'checkpoint-'))
const standIn = join(folder, 'stand-in')
const location = join(folder, 'archive.tar')
const criuWorks = spawnSync('criu', ['check']).status === 0

let f: Awaited<ReturnType<typeof makeRuntime>>
beforeAll(async () => {
  // Its arguments: --root=R checkpoint --image-path I --work-path W … ID
  const script = `#!/bin/bash
if [ "$2" != checkpoint ]; then exec runc "$@"; fi
runc "$1" state "\${@: -1}" > "$4/pages-1.img"
echo "$*" > "$6/dump.log"
if [ -e ${folder}/slow ]; then exec sleep 60; fi
`
  writeFileSync(standIn, script)
  chmodSync(standIn, 0o755)
  f = await makeRuntime({ handlers: { runc: {}, 'stand-in': { path: standIn } } })
})
afterEach(() => {
  vi.unstubAllEnvs()
  for (const name of ['archive.tar', 'slow']) rmSync(join(folder, name), { force: true })
})
afterAll(async () => {
  await f[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

async function run(script: string, runtimeHandler = ''): Promise<string> {
  const { runtimeService } = f.runtime
  const config = f.pod()
  const { podSandboxId } = await runtimeService.runPodSandbox({ config, runtimeHandler })
  const request = { podSandboxId, config: f.container('c', script), sandboxConfig: config }
  const { containerId } = await runtimeService.createContainer(request)
  await runtimeService.startContainer({ containerId })
  return containerId
}

const checkpoint = async (containerId: string, timeout = 0n, to = location) =>
  f.runtime.runtimeService.checkpointContainer({ containerId, location: to, timeout })

async function goesOn(containerId: string): Promise<void> {
  const command = { containerId, cmd: ['/bin/sh', '-c', 'echo on'], timeout: 10n }
  expect((await f.runtime.runtimeService.execSync(command)).exitCode).toBe(0)
  const { checkpointTo } = JSON.parse(
    readFileSync(join(f.folder, 'state/containers', containerId, 'container.json'), 'utf8'),
  ) as { checkpointTo?: string }
  expect(checkpointTo).toBeUndefined()
  expect(readdirSync(join(f.folder, 'state/containers', containerId))).not.toContain('checkpoint')
  expect(readdirSync(folder).filter((name) => name.endsWith('.partial'))).toEqual([])
}

/** What is in the archive, unpacked. */
function unpacked(): string {
  const into = mkdtempSync(join(folder, 'unpacked-'))
  execFileSync('tar', ['-xf', location, '-C', into])
  mkdirSync(join(into, 'rootfs'))
  execFileSync('tar', ['-xf', join(into, 'rootfs-diff.tar'), '-C', join(into, 'rootfs')])
  return into
}

test.skipIf(!existsSync('/usr/sbin/criu'))(
  'by criu: an archive, or its own reason; the container goes on',
  async () => {
    const id = await run('echo hello; exec sleep 600')
    if (criuWorks) {
      await checkpoint(id)
      expect(readdirSync(join(unpacked(), 'checkpoint'))).toContain('inventory.img')
    } else {
      await expect(checkpoint(id)).rejects.toThrow(/^checkpointing container [0-9a-f]+: criu: .+; its whole log is \//)
      expect(existsSync(location)).toBe(false)
      const log = readFileSync(join(f.folder, 'state/containers', id, 'dump.log'), 'utf8')
      expect(dumpFailure(log)).toBeDefined()
    }
    await goesOn(id)
  },
)

test('the archive has what was dumped, how to make the container, and its files', async () => {
  const changes = [
    'echo hello',
    'echo changed > /etc/passwd',
    'mkdir -p /new/deep',
    'echo deep > /new/deep/file',
    'busybox rm /bin/wget',
    'busybox rm -r /tmp && mkdir /tmp && touch /tmp/now',
    'busybox ln -s nowhere /-link',
  ]
  const id = await run(
    `${changes.join(' && ').replaceAll('mkdir', 'busybox mkdir')}; touch /done; exec sleep 600`,
    'stand-in',
  )
  const isDone = { containerId: id, cmd: ['/bin/ls', '/done'], timeout: 10n }
  await expect.poll(async () => (await f.runtime.runtimeService.execSync(isDone)).exitCode).toBe(0)
  await checkpoint(id)
  await goesOn(id)
  const into = unpacked()
  const json = (name: string): unknown => JSON.parse(readFileSync(join(into, name), 'utf8'))
  const names =
    'bind.mounts checkpoint config.dump container.log deleted.files dump.log rootfs rootfs-diff.tar spec.dump status.dump'
  expect(readdirSync(into).toSorted()).toEqual(names.split(' '))
  // It stood still when it was dumped.
  expect(json('checkpoint/pages-1.img')).toMatchObject({ id, status: 'paused' })
  expect(readFileSync(join(into, 'dump.log'), 'utf8')).toContain('--leave-running')
  expect(json('config.dump')).toMatchObject({ id, name: 'c', rootfsImageName: f.image, runtime: 'stand-in' })
  expect(json('spec.dump')).toMatchObject({ process: { args: expect.arrayContaining(['/bin/sh']) } })
  expect(json('status.dump')).toMatchObject({ Pid: expect.any(Number) })
  expect(json('bind.mounts')).toContainEqual(
    expect.objectContaining({ destination: '/etc/hosts', file_type: 'file', permissions: 0o644 }),
  )
  expect(json('deleted.files')).toEqual(['/bin/wget'])
  expect(readFileSync(join(into, 'container.log'), 'utf8')).toContain('stdout F hello')
  const files = execFileSync('find', ['.', '-mindepth', '1'], { cwd: join(into, 'rootfs'), encoding: 'utf8' })
  expect(files.trim().split('\n').toSorted()).toEqual([
    './-link',
    './bin',
    './done',
    './etc',
    './etc/passwd',
    './new',
    './new/deep',
    './new/deep/file',
    './tmp',
    './tmp/now',
  ])
  expect(readFileSync(join(into, 'rootfs/etc/passwd'), 'utf8')).toBe('changed\n')
})

test('a folder that was replaced has lost what was in it', async () => {
  const id = await run(
    'busybox rm -r /etc && busybox mkdir /etc && touch /etc/new; touch /done; exec sleep 600',
    'stand-in',
  )
  const isDone = { containerId: id, cmd: ['/bin/ls', '/done'], timeout: 10n }
  await expect.poll(async () => (await f.runtime.runtimeService.execSync(isDone)).exitCode).toBe(0)
  await checkpoint(id)
  expect(JSON.parse(readFileSync(join(unpacked(), 'deleted.files'), 'utf8'))).toEqual(['/etc/passwd'])
})

test('a time limit, and the end of the container, end a checkpoint', async () => {
  const id = await run('exec sleep 600', 'stand-in')
  writeFileSync(join(folder, 'slow'), '')
  await expect(checkpoint(id, 1n)).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' })
  await goesOn(id)
  const slow = expect(checkpoint(id)).rejects.toThrow('is being stopped: there is no checkpoint')
  const images = join(f.folder, 'state/containers', id, 'checkpoint/dump.log')
  await expect.poll(() => existsSync(images)).toBe(true)
  await f.runtime.runtimeService.stopContainer({ containerId: id, timeout: 0n })
  await slow
  expect(existsSync(location)).toBe(false)
})

test('what cannot be checkpointed or restored is refused', async () => {
  const id = await run('exec sleep 600', 'stand-in')
  await expect(checkpoint(id, 0n, 'relative.tar')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  await expect(checkpoint('f'.repeat(64))).rejects.toMatchObject({ code: 'NOT_FOUND' })
  vi.stubEnv('PATH', folder)
  await expect(checkpoint(id)).rejects.toThrow('needs the program criu (3.16 or newer), which is not on the PATH')
  vi.unstubAllEnvs()
  await f.runtime.runtimeService.stopContainer({ containerId: id, timeout: 0n })
  await expect(checkpoint(id)).rejects.toThrow('is exited: only a running one can be checkpointed')
  const pod = await f.runtime.runtimeService.runPodSandbox({ config: f.pod(), runtimeHandler: '' })
  const config = f.container('restored', '', { image: { image: location } })
  const restored = f.runtime.runtimeService.createContainer({ ...pod, config, sandboxConfig: undefined })
  await expect(restored).rejects.toThrow('cannot restore containers from checkpoints')
})

test.each([
  ['(00.012075) Error (criu/vdso.c:381): vdso: no bounds\n(00.012077) Error (criu/x.c:1): later\n', 'vdso: no bounds'],
  ['(00.1) fine\n(00.2)     12: Error (criu/a.c:9): in a task', 'in a task'],
  ['Error (criu/crtools.c:260): Could not start', 'Could not start'],
  ['(00.1) Warn  (criu/x.c:2): Error is no word of mine', undefined],
  ['', undefined],
])('the reason in %j', (log, reason) => {
  expect(dumpFailure(log)).toBe(reason)
})
