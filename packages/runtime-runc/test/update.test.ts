// New limits for containers, as the kernel sees them. In the guest of cgroup-v2.test.ts the same holds on cgroups v2.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { LinuxContainerResources } from '@nodelet/cri-api'
import type { DeepPartial } from '@nodelet/cri-api'
import { openCgroups } from '@nodelet/linux'
import type { CgroupStats } from '@nodelet/linux'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { mergeResources } from '../src/spec/merge-resources.ts'
import { makeFixture, until } from './fixture.ts'

type Limits = DeepPartial<LinuxContainerResources>

const MiB = 1 << 20
const big = (mib: number): bigint => BigInt(mib * MiB)
const isV2 = existsSync('/sys/fs/cgroup/cgroup.controllers')

let f: Awaited<ReturnType<typeof makeFixture>>
beforeAll(async () => {
  f = await makeFixture()
})
afterAll(async () => f[Symbol.asyncDispose]())

const update = async (id: string, limits: Limits): Promise<void> =>
  f.containers.updateResources(id, LinuxContainerResources.fromPartial(limits))
const create = async (script: string, resources: Limits): Promise<string> =>
  f.containers.create(f.options(script, { linux: { resources } }))
const kernel = async (id: string): Promise<CgroupStats> => (await openCgroups()).stats(join(f.cgroupParent, id))
const told = (id: string): LinuxContainerResources | undefined => f.containers.status(id).config.linux?.resources

function fileOf(id: string, controller: string, file: string): string {
  const folder = isV2 ? '/sys/fs/cgroup' : join('/sys/fs/cgroup', controller)
  return readFileSync(join(folder, f.cgroupParent, id, file), 'utf8').trim()
}

const quotaOf = (id: string): string =>
  isV2
    ? fileOf(id, 'cpu', 'cpu.max')
    : `${fileOf(id, 'cpu', 'cpu.cfs_quota_us')} ${fileOf(id, 'cpu', 'cpu.cfs_period_us')}`

test('limits grow and shrink while it runs; the status, the spec and a restart tell the same', async () => {
  const id = await create('sleep 600', { memoryLimitInBytes: big(64), cpuShares: 512n, cpuQuota: 50_000n })
  await f.containers.start(id)
  await update(id, { memoryLimitInBytes: big(256), cpuQuota: 20_000n, cpuPeriod: 50_000n })
  expect((await kernel(id)).memory?.limit).toBe(256 * MiB)
  expect(quotaOf(id)).toBe('20000 50000')
  await update(id, { memoryLimitInBytes: big(32), cpuQuota: -1n })
  expect((await kernel(id)).memory?.limit).toBe(32 * MiB)
  expect(quotaOf(id)).toMatch(/^(-1|max) 50000$/)
  const expected = { memoryLimitInBytes: big(32), cpuShares: 512n, cpuQuota: -1n, cpuPeriod: 50_000n }
  expect(told(id)).toMatchObject(expected)
  expect((await f.containers.spec(id))?.linux.resources).toMatchObject({
    memory: { limit: 32 * MiB },
    cpu: { shares: 512, quota: -1, period: 50_000 },
    devices: expect.arrayContaining([{ allow: false, access: 'rwm' }]),
  })
  await f.reopen()
  expect(told(id)).toMatchObject(expected)
})

test('one that is only created gets them, too, and has them when it starts', async () => {
  const id = await create('sleep 600', { memoryLimitInBytes: big(64) })
  await update(id, { memoryLimitInBytes: big(128) })
  expect(f.containers.status(id).phase).toBe('created')
  await f.containers.start(id)
  expect((await kernel(id)).memory?.limit).toBe(128 * MiB)
})

test('less memory than is in use is refused; nothing changes and nothing is killed', async () => {
  const script = '/bin/busybox head -c 40000000 /dev/zero > /dev/ram; echo full; sleep 600'
  const id = await create(script, { memoryLimitInBytes: big(128), cpuShares: 512n })
  await f.containers.start(id)
  await until(() => f.logLines().some((line) => line.endsWith(' full')), 'memory is used', 120_000)
  const change = update(id, { memoryLimitInBytes: big(16), cpuShares: 256n })
  await expect(change).rejects.toThrow(isV2 ? /below the \d+ in use: nothing was changed/ : /current usage|busy/)
  expect(told(id)).toMatchObject({ memoryLimitInBytes: big(128), cpuShares: 512n })
  const { memory } = await kernel(id)
  expect(memory).toMatchObject({ limit: 128 * MiB, oomKills: 0 })
  expect(f.containers.status(id).phase).toBe('running')
})

test('unified keys reach the kernel on v2 and are refused on v1', async () => {
  const id = await create('sleep 600', { memoryLimitInBytes: big(64) })
  await f.containers.start(id)
  const change = update(id, { unified: { 'memory.high': String(32 * MiB) } })
  if (!isV2) {
    await expect(change).rejects.toThrow(/memory\.high are of cgroup v2/)
    expect(told(id)?.unified).toEqual({})
    expect(f.containers.status(id).pendingResources).toBeUndefined() // else a restart would try again
    return
  }
  await change
  await update(id, { unified: { 'memory.low': '4096' } })
  expect([fileOf(id, '', 'memory.high'), fileOf(id, '', 'memory.low')]).toEqual([String(32 * MiB), '4096'])
  expect(told(id)?.unified).toEqual({ 'memory.high': String(32 * MiB), 'memory.low': '4096' })
})

test('what the kernel does not take is refused and leaves all as it was', async () => {
  const id = await create('sleep 600', { cpuShares: 512n })
  await f.containers.start(id)
  await expect(update(id, { cpusetCpus: '4096' })).rejects.toThrow(/cpuset/)
  expect(told(id)).toMatchObject({ cpusetCpus: '', cpuShares: 512n })
  await update(id, { cpuShares: 1024n }) // and the next one is taken
  await f.containers.stop(id, 0)
  await expect(update(id, { cpuShares: 2n })).rejects.toThrow('is exited: its limits cannot be changed')
})

test.each<[string, Limits | undefined, Limits, Limits]>([
  ['zero changes nothing', { cpuShares: 5n, cpusetCpus: '0' }, {}, { cpuShares: 5n, cpusetCpus: '0' }],
  ['what is named replaces', { cpuShares: 5n, cpuQuota: 9n }, { cpuQuota: -1n }, { cpuShares: 5n, cpuQuota: -1n }],
  ['there were none', undefined, { cpuShares: 7n }, { cpuShares: 7n }],
  ['unified by key', { unified: { a: '1', b: '2' } }, { unified: { b: '3' } }, { unified: { a: '1', b: '3' } }],
  ['no score', { oomScoreAdj: 5n }, { oomScoreAdj: 900n }, { oomScoreAdj: 5n }],
  [
    'no huge pages',
    { hugepageLimits: [{ pageSize: '2MB', limit: 4n }] },
    { hugepageLimits: [{ pageSize: '2MB', limit: 8n }] },
    { hugepageLimits: [{ pageSize: '2MB', limit: 4n }] },
  ],
  [
    'swap that still fits stays',
    { memoryLimitInBytes: 10n, memorySwapLimitInBytes: 30n },
    { memoryLimitInBytes: 20n },
    { memoryLimitInBytes: 20n, memorySwapLimitInBytes: 30n },
  ],
  [
    'swap below memory becomes none',
    { memoryLimitInBytes: 10n, memorySwapLimitInBytes: 30n },
    { memoryLimitInBytes: 40n },
    { memoryLimitInBytes: 40n, memorySwapLimitInBytes: 40n },
  ],
  [
    'no limit at all',
    { memoryLimitInBytes: 10n, memorySwapLimitInBytes: 30n },
    { memoryLimitInBytes: -1n },
    { memoryLimitInBytes: -1n, memorySwapLimitInBytes: -1n },
  ],
  [
    'unlimited swap',
    { memoryLimitInBytes: 10n, memorySwapLimitInBytes: -1n },
    { memoryLimitInBytes: 20n },
    { memoryLimitInBytes: 20n, memorySwapLimitInBytes: -1n },
  ],
])('merged limits: %s', (_, before, change, expected) => {
  const whole = before && LinuxContainerResources.fromPartial(before)
  const merged = mergeResources(whole, LinuxContainerResources.fromPartial(change))
  expect(merged).toEqual(LinuxContainerResources.fromPartial(expected))
})
