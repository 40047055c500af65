// Where the monitor of a container is; in the guest of cgroup-v2.test.ts the same on cgroups v2.
import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { cgroupFolders, makeFixture } from './fixture.ts'

const isV2 = existsSync('/sys/fs/cgroup/cgroup.controllers')
const controllers = isV2 ? /^0::/ : /[:,](memory|cpu|pids|freezer|name=systemd)[:,]/

function cgroupsOf(pid = 0): Set<string> {
  const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n')
  return new Set(lines.filter((line) => controllers.test(line)).map((line) => line.split(':')[2] ?? ''))
}

test('the monitor is in a cgroup of its own beside the container, which goes with it', async () => {
  await using f = await makeFixture()
  const id = await f.containers.create(f.options('sleep 600'))
  await f.containers.start(id)
  const { monitor, init } = f.containers.status(id)
  const own = `${f.cgroupParent}/nodelet-conmon-${id}`
  expect(cgroupsOf(monitor?.pid)).toEqual(new Set([own]))
  expect(cgroupsOf(init?.pid)).toEqual(new Set([`${f.cgroupParent}/${id}`]))
  await f.reopen()
  await f.containers.remove(id)
  expect([...cgroupFolders(own), ...cgroupFolders(`${f.cgroupParent}/${id}`)]).toEqual([])
})
