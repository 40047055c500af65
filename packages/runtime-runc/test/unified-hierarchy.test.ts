// What containers are on a machine with cgroups v2 alone, with either OCI runtime: run in the guest of cgroup-v2.test.ts.
import { existsSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { LinuxContainerResources, NamespaceMode } from '@nodelet/cri-api'
import type { ContainerConfig, ContainerStatus, DeepPartial } from '@nodelet/cri-api'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { leftovers, makeRuntime } from './runtime-fixture.ts'

const { CONTAINER, NODE } = NamespaceMode
const MiB = 1 << 20
const isV2 = existsSync('/sys/fs/cgroup/cgroup.controllers')

describe.skipIf(!isV2).each(['runc', 'crun'])('%s on cgroups v2', (handler) => {
  let f: Awaited<ReturnType<typeof makeRuntime>>
  beforeAll(async () => {
    f = await makeRuntime({ handlers: { [handler]: {} } })
  })
  afterAll(async () => f[Symbol.asyncDispose]())

  async function run(
    script: string,
    linux: DeepPartial<NonNullable<ContainerConfig['linux']>>,
    pid: typeof CONTAINER | typeof NODE = CONTAINER,
  ): Promise<string> {
    const { runtimeService } = f.runtime
    const security = { securityContext: { namespaceOptions: { pid } } }
    const sandboxConfig = f.pod({ linux: { cgroupParent: `${f.cgroup}/pod-${pid}`, ...security } })
    const { podSandboxId } = await runtimeService.runPodSandbox({ config: sandboxConfig, runtimeHandler: handler })
    const config = f.container('c', script, { linux: { ...security, ...linux } })
    const { containerId } = await runtimeService.createContainer({ podSandboxId, config, sandboxConfig })
    await runtimeService.startContainer({ containerId })
    return containerId
  }
  const statusOf = async (containerId: string): Promise<ContainerStatus | undefined> =>
    (await f.runtime.runtimeService.containerStatus({ containerId, verbose: false })).status
  const fileOf = (id: string, file: string, pid = CONTAINER as number): string =>
    readFileSync(join('/sys/fs/cgroup', f.cgroup, `pod-${pid}`, id, file), 'utf8').trim()

  test('limits, unified keys, stats and updates; the cgroup is all that it sees', async () => {
    const { runtimeService } = f.runtime
    const containerId = await run('exec sleep 600', {
      resources: {
        memoryLimitInBytes: BigInt(64 * MiB),
        cpuQuota: 50_000n,
        cpuPeriod: 100_000n,
        hugepageLimits: [{ pageSize: '2MB', limit: BigInt(2 * MiB) }], // the kernel has none: left out
        unified: { 'memory.high': String(48 * MiB), 'pids.max': '50' },
      },
    })
    expect(['memory.max', 'memory.high', 'pids.max', 'cpu.max'].map((file) => fileOf(containerId, file))).toEqual([
      String(64 * MiB),
      String(48 * MiB),
      '50',
      '50000 100000',
    ])
    const exec = async (...cmd: string[]): Promise<string> =>
      Buffer.from((await runtimeService.execSync({ containerId, cmd, timeout: 20n })).stdout).toString()
    expect(await exec('cat', '/proc/self/cgroup')).toBe('0::/\n')
    expect(await exec('cat', '/sys/fs/cgroup/memory.max')).toBe(`${64 * MiB}\n`)
    const changed = LinuxContainerResources.fromPartial({
      unified: { 'memory.high': String(40 * MiB) },
      cpuQuota: 20_000n,
    })
    await runtimeService.updateContainerResources({ containerId, linux: changed, windows: undefined, annotations: {} })
    expect([fileOf(containerId, 'memory.high'), fileOf(containerId, 'cpu.max')]).toEqual([
      String(40 * MiB),
      '20000 100000',
    ])
    const { stats } = await runtimeService.containerStats({ containerId })
    const usage = Number(stats?.memory?.usageBytes?.value)
    expect(usage).toBeGreaterThan(0)
    expect(Number(stats?.memory?.workingSetBytes?.value)).toBeLessThanOrEqual(usage)
    expect(Number(stats?.memory?.availableBytes?.value)).toBeGreaterThan(32 * MiB)
    expect(Number(stats?.cpu?.usageCoreNanoSeconds?.value)).toBeGreaterThan(0)
    await runtimeService.stopContainer({ containerId, timeout: 0n })
    expect(await statusOf(containerId)).toMatchObject({ exitCode: 137, reason: 'Error' })
  })

  test('too much memory is told as OOMKilled', async () => {
    const resources = { memoryLimitInBytes: BigInt(16 * MiB), unified: { 'memory.oom.group': '1' } }
    const containerId = await run('/bin/busybox head -c 40000000 /dev/zero > /dev/shm/full; sleep 600', { resources })
    await f.runtime.wait(containerId)
    expect(await statusOf(containerId)).toMatchObject({ exitCode: 137, reason: 'OOMKilled' })
  })

  test('on the node’s processes, a stop ends all of the container and nothing else', async () => {
    const containerId = await run('sleep 601 & sleep 602 & exec sleep 603', {}, NODE)
    await expect.poll(() => fileOf(containerId, 'cgroup.procs', NODE).split('\n').length).toBe(3)
    await f.runtime.runtimeService.stopContainer({ containerId, timeout: 0n })
    expect(existsSync(join('/sys/fs/cgroup', f.cgroup, `pod-${NODE}`, containerId))).toBe(false)
  })

  test('and nothing is left', async () => {
    const { runtimeService } = f.runtime
    for (const { id } of (await runtimeService.listPodSandbox({ filter: undefined })).items) {
      await runtimeService.removePodSandbox({ podSandboxId: id })
    }
    expect([...leftovers(f), ...f.problems]).toEqual([])
    // The pods' own are for who gave them: they go only when nothing is in them.
    for (const pid of [CONTAINER, NODE]) rmdirSync(join('/sys/fs/cgroup', f.cgroup, `pod-${pid}`))
  })
})
