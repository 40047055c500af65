// A kernel with SELinux on: the guest's, with a policy of the test's.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getXattr, mount } from '@nodelet/linux'
import type { DeepPartial, LinuxContainerSecurityContext } from '@nodelet/cri-api'
import { NamespaceMode } from '@nodelet/cri-api'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeRuntime } from './runtime-fixture.ts'
import { policySource } from './selinux-policy.ts'

const fs = '/sys/fs/selinux'

function loadPolicy(): void {
  const folder = mkdtempSync(join(tmpdir(), 'policy-'))
  try {
    writeFileSync(join(folder, 'policy.conf'), policySource)
    const versions = readFileSync(join(fs, 'policyvers'), 'utf8')
    const args = ['-M', '-U', 'allow', '-c', String(Math.min(33, Number(versions))), '-o', join(folder, 'policy')]
    execFileSync('checkpolicy', [...args, join(folder, 'policy.conf')], { stdio: 'pipe' })
    writeFileSync(join(fs, 'load'), readFileSync(join(folder, 'policy')))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe.runIf(process.env.UML)('with SELinux on', () => {
  let f: Awaited<ReturnType<typeof makeRuntime>>
  beforeAll(async () => {
    mount({ source: 'selinuxfs', target: fs, type: 'selinuxfs' })
    loadPolicy()
    f = await makeRuntime({ enableSelinux: true })
  })
  afterAll(async () => f[Symbol.asyncDispose]())

  const runPod = async (config?: Parameters<typeof f.pod>[0]): Promise<string> =>
    (await f.runtime.runtimeService.runPodSandbox({ config: f.pod(config), runtimeHandler: '' })).podSandboxId

  /** What a container of these settings is and sees. */
  async function look(
    podSandboxId: string,
    securityContext: DeepPartial<LinuxContainerSecurityContext> = {},
    volume?: string,
  ): Promise<Record<string, string>> {
    const { runtimeService } = f.runtime
    const config = f.container(`c${Math.random()}`, 'sleep 600', {
      mounts: volume === undefined ? [] : [{ hostPath: volume, containerPath: '/volume', selinuxRelabel: true }],
      linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER }, ...securityContext } },
    })
    const { containerId } = await runtimeService.createContainer({ podSandboxId, config, sandboxConfig: undefined })
    await runtimeService.startContainer({ containerId })
    const cmd = ['/bin/sh', '-c', 'cat /proc/1/attr/current; echo; cat /proc/self/attr/current']
    const { stdout } = await runtimeService.execSync({ containerId, cmd, timeout: 30n })
    const [init = '', exec = ''] = Buffer.from(stdout).toString().replaceAll('\0', '').split('\n')
    const pid = readFileSync(join(f.folder, 'run/bundles', containerId, 'pidfile'), 'utf8').trim()
    const labelOf = (path: string): string =>
      getXattr(`/proc/${pid}/root${path}`, 'security.selinux')?.toString().replace('\0', '') ?? ''
    return {
      init,
      exec,
      file: labelOf('/data/seed'),
      shm: labelOf('/dev/shm'),
      hosts: labelOf('/etc/hosts'),
      ...(volume && { volume: labelOf('/volume/in') }),
    }
  }

  const labels = (level: string) => ({
    process: `system_u:system_r:container_t:${level}`,
    file: `system_u:object_r:container_file_t:${level}`,
  })

  test('a pod’s containers share a level that no other pod has; their files, memory and volumes have its label', async () => {
    const volume = join(f.folder, 'volume')
    mkdirSync(volume)
    writeFileSync(join(volume, 'in'), '')
    const [one, two] = [await runPod(), await runPod()]
    const first = await look(one, {}, volume)
    const level = /:(s0:c\d+,c\d+)$/.exec(first['init'] ?? '')?.[1] ?? ''
    const { process: own, file } = labels(level)
    expect(first).toEqual({ init: own, exec: own, file, shm: file, hosts: file, volume: file })
    expect((await look(one))['init']).toBe(own)
    expect((await look(two))['init']).toMatch(/^system_u:system_r:container_t:s0:c\d+,c\d+$/)
    expect((await look(two))['init']).not.toBe(own)
    await f.reopen(() => {})
    expect((await look(one))['init']).toBe(own)
    const { runtimeService } = f.runtime
    for (const podSandboxId of [one, two]) await runtimeService.removePodSandbox({ podSandboxId })
  })

  test('what selinux_options say counts, for the pod and over it for the container; privileged ones run as the runtime', async () => {
    const pod = await runPod({
      linux: { securityContext: { privileged: true, selinuxOptions: { level: 's0:c5,c6' } } },
    })
    expect((await look(pod))['init']).toBe(labels('s0:c5,c6').process)
    // What holds the pod's PIDs is read and run by all pods.
    expect(getXattr(join(f.folder, 'state/pause/pause'), 'security.selinux')?.toString()).toMatch(
      /^system_u:object_r:container_ro_file_t:s0\0?$/,
    )
    const own = await look(pod, { selinuxOptions: { type: 'spc_t', level: 's0:c7' } })
    expect(own).toMatchObject({ init: 'system_u:system_r:spc_t:s0:c7', file: labels('s0:c7').file })
    expect((await look(pod, { privileged: true }))['init']).toBe('system_u:system_r:base_t:s0')
    await expect(look(pod, { selinuxOptions: { level: 'x' } })).rejects.toThrow(
      `the format of 'level' "x" is not correct`,
    )
    await expect(look(pod, {}, '/etc')).rejects.toThrow('SELinux relabeling of /etc is not allowed')
    await f.runtime.runtimeService.removePodSandbox({ podSandboxId: pod })
  })
})
