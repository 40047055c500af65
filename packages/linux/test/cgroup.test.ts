import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { cpuWeight } from '../src/cgroup-v2.ts'
import { openCgroups } from '../src/index.ts'
import type { Cgroups } from '../src/index.ts'

const path = `/nodelet-test-${process.pid}`
let cgroups: Cgroups
const children: ChildProcess[] = []

/** A process in the cgroup. */
async function occupant(program: string, ...args: string[]): Promise<ChildProcess> {
  const child = spawn('/bin/sh', ['-c', 'read line; exec "$@"', 'sh', program, ...args], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  children.push(child)
  await cgroups.attach(`${path}/pod`, child.pid ?? 0)
  child.stdin.end('go\n')
  return child
}

beforeEach(async () => {
  cgroups = await openCgroups()
  await cgroups.create(`${path}/pod`, { cpuShares: 512, memoryBytes: 16 << 20, pids: 20 })
})

afterEach(async () => {
  if (await cgroups.exists(path)) await cgroups.kill(path)
  await cgroups.remove(path)
  expect(await cgroups.exists(path)).toBe(false)
})

test('limits are in force, and told by the statistics', async () => {
  await occupant('sh', '-c', 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 60')
  await expect.poll(used).toBeGreaterThan(0n)
  // what it had before it came here is charged elsewhere: only new pages count
  const memory = async () => (await cgroups.stats(`${path}/pod`)).memory?.usage
  await expect.poll(memory).toBeGreaterThan(0)
  const stats = await cgroups.stats(`${path}/pod`)
  expect(stats.memory?.limit).toBe(16 << 20)
  expect(stats.pids).toEqual({ current: 1, limit: 20 })
  expect(stats.cpu?.usageNs).toBeGreaterThan(0n)
  await cgroups.update(`${path}/pod`, { memoryBytes: -1, pids: -1, cpuQuotaUs: 50_000, cpuPeriodUs: 100_000 })
  const after = await cgroups.stats(`${path}/pod`)
  expect(after.memory?.limit).toBeUndefined()
  expect(after.pids).toEqual({ current: 1 })
})

test('more memory than so much, and less again, is told by v1', async () => {
  expect(cgroups.onMemoryUsage === undefined).toBe(cgroups.version === 2)
  let told = 0
  using _ = await cgroups.onMemoryUsage?.(`${path}/pod`, 8n << 20n, () => told++)
  if (!_) return
  const child = await occupant('sh', '-c', 'head -c 4m /dev/zero | tail | sleep 60')
  await expect.poll(async () => (await cgroups.stats(`${path}/pod`)).memory?.usage).toBeGreaterThan(4 << 20)
  expect(told).toBe(0)
  const more = await occupant('sh', '-c', 'head -c 8m /dev/zero | tail | sleep 60')
  await expect.poll(() => told).toBe(1)
  for (const one of [child, more]) one.kill('SIGKILL')
  await cgroups.kill(`${path}/pod`)
  await expect.poll(() => told).toBe(2)
})

test('whether swap can be limited is told by the files of the kernel', async () => {
  const file = cgroups.version === 2 ? 'memory.swap.max' : 'memory.memsw.limit_in_bytes'
  const mounted = cgroups.version === 2 ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory'
  expect(await cgroups.limitsSwap(`${path}/pod`)).toBe(existsSync(`${mounted}${path}/pod/${file}`))
  expect(await cgroups.limitsSwap(`${path}/none`)).toBe(false)
})

test('cgroups that are made at once below one that is new take processes', async () => {
  const sleepers = Array.from({ length: 8 }, () => spawn('sleep', ['60']))
  children.push(...sleepers)
  for (let round = 0; round < 5; round += 1) {
    const names = sleepers.map((_, at) => `${path}/new-${round}/deep/pod-${at}`)
    await Promise.all(
      names.map(async (name, at) => {
        await cgroups.create(name)
        await cgroups.attach(name, sleepers[at]?.pid ?? 0)
      }),
    )
    for (const name of names) expect(await cgroups.processes(name)).toHaveLength(1)
  }
})

test('a process that wants more memory than the limit is killed, and counted', async () => {
  const child = await occupant('dd', 'if=/dev/zero', 'of=/dev/null', 'bs=64M', 'count=1')
  await once(child, 'exit')
  expect((await cgroups.stats(`${path}/pod`)).memory?.oomKills).toBeGreaterThan(0)
})

test('freezing stops and thawing goes on', async () => {
  await occupant('sh', '-c', 'while :; do :; done')
  await cgroups.freeze(`${path}/pod`)
  const [before, later] = [await used(), await new Promise((resolve) => setTimeout(resolve, 60)).then(used)]
  expect(later).toBe(before)
  await cgroups.thaw(`${path}/pod`)
  await expect.poll(used).toBeGreaterThan(later)
})

test('killing reaches what is below, frozen or not, and leaves what can be removed', async () => {
  const child = await occupant('sleep', '60')
  await cgroups.freeze(`${path}/pod`)
  expect(await cgroups.processes(path)).toEqual([child.pid])
  const gone = once(child, 'exit')
  await cgroups.kill(path)
  await gone
  expect(await cgroups.processes(path)).toEqual([])
  expect(await cgroups.children(path)).toEqual(['pod'])
})

test('the root is refused, and errors name the file and the value', async () => {
  await expect(cgroups.remove('/')).rejects.toThrow('cgroup path "/"')
  await expect(cgroups.create('/a/../b')).rejects.toThrow('cgroup path "/a/../b"')
  await expect(cgroups.update(`${path}/none`, { pids: 3 })).rejects.toThrow(/ENOENT: write 3 to .*none\/pids\.max/)
  expect(await cgroups.children(`${path}/none`)).toEqual([])
})

test.each([
  [2, 1],
  [1024, 39],
  [262_144, 10_000],
])('%i shares are weight %i', (shares, weight) => {
  expect(cpuWeight(shares)).toBe(weight)
})

async function used(): Promise<bigint> {
  return (await cgroups.stats(`${path}/pod`)).cpu?.usageNs ?? 0n
}

test('the machine as a whole can be looked at, and not touched', async () => {
  const { cpu } = await cgroups.stats('/')
  expect(cpu?.usageNs).toBeGreaterThan(0n)
  await expect(cgroups.create('/')).rejects.toThrow('below the root')
})
