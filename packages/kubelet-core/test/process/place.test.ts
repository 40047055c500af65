// Where processes are accounted, on the real kernel: in cgroups of this test alone.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { type Cgroups, openCgroups } from '@nodelet/linux'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { systemClock } from '../../src/clock.ts'
import { silentLogger } from '../../src/log.ts'
import { keepPlaces, moveProcesses, placeProcess } from '../../src/process/place.ts'

const top = `/nodelet-place-${process.pid}`
let cgroups: Cgroups
const children: ChildProcess[] = []

const start = async (path: string): Promise<number> => {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' })
  children.push(child)
  await once(child, 'spawn')
  await cgroups.create(path)
  await cgroups.attach(path, child.pid ?? 0)
  return child.pid ?? 0
}

beforeEach(async () => {
  cgroups = await openCgroups()
})
afterEach(async () => {
  await cgroups.kill(top)
  await cgroups.remove(top)
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

it('a process goes where it belongs, again if need be', async () => {
  const pid = await start(`${top}/from`)
  for (let round = 0; round < 2; round++) {
    await placeProcess(cgroups, `${top}/kubelet/own`, pid)
    expect(await cgroups.ownProcesses(`${top}/kubelet/own`)).toEqual([pid])
  }
  expect(await cgroups.ownProcesses(`${top}/kubelet`)).toEqual([])
})

it('all processes of one cgroup go to another; those below stay', async () => {
  const [one, two] = [await start(`${top}/from`), await start(`${top}/from`)]
  // In v2 none are below where others are.
  const below = cgroups.version === 1 ? [await start(`${top}/from/below`)] : []
  await moveProcesses(cgroups, `${top}/from`, `${top}/system`)
  expect(new Set(await cgroups.ownProcesses(`${top}/system`))).toEqual(new Set([one, two]))
  expect(await cgroups.processes(`${top}/from`)).toEqual(below)
})

it('threads of the kernel and the first process stay', async () => {
  const kernel = readdirSync('/proc').find((name) => /^\d+$/.test(name) && name !== '1' && !hasProgram(name))
  const moved: number[] = []
  const pids = [1, Number(kernel ?? 2 ** 22), process.pid]
  const files = {
    create: async () => {},
    ownProcesses: async () => pids,
    attach: async (_path: string, pid: number) => void moved.push(pid),
  }
  await moveProcesses(files, '/', '/system')
  expect(moved).toEqual([process.pid])
})
const hasProgram = (pid: string): boolean => existsSync(`/proc/${pid}/exe`)

it('a kubelet moves its own process only, and what is asked for', async () => {
  const said: string[] = []
  const files = {
    create: async (path: string) => void said.push(`create ${path}`),
    ownProcesses: async () => [],
    attach: async (path: string, pid: number) => void said.push(`${pid === process.pid} to ${path}`),
  }
  const shared = { cgroups: files, clock: systemClock, log: silentLogger }
  const configuration = { kubeletCgroups: 'kubelet.slice', systemCgroups: '/system' }
  expect(keepPlaces({ ...shared, configuration: { ...configuration, systemCgroups: '' }, ownProcess: false })).toBe(
    undefined,
  )
  const places = keepPlaces({ ...shared, configuration, ownProcess: true })
  places?.now()
  await places?.close()
  expect(said).toEqual(['create /kubelet.slice', 'true to /kubelet.slice', 'create /system'])
})
