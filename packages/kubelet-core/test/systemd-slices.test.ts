// Pods in slices of a real systemd: kubelet, runtime and runc ask it for their cgroups.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openCgroups } from '@nodelet/linux'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it } from 'vitest'
import { createSystemdDriver } from '../src/resource/systemd-driver.ts'
import { isReady, startWholeCluster, stay } from './whole-cluster.ts'

const hasSystemd = existsSync('/run/systemd/private') && process.env.UML !== undefined
const of = (path: string, file: string): string => readFileSync(join('/sys/fs/cgroup', path, file), 'utf8').trim()
const burstable = '/kubepods.slice/kubepods-burstable.slice'

it.runIf(hasSystemd)('slices are made with their limits, changed, listed and removed', async () => {
  const driver = createSystemdDriver(await openCgroups(), { podPidsLimit: 100 })
  await driver.start({ milliCpu: 4000n, memoryBytes: 1n << 30n })
  expect([of('/kubepods.slice', 'memory.max'), of('/kubepods.slice/kubepods-besteffort.slice', 'cpu.weight')]).toEqual([
    String(2 ** 30),
    '1',
  ])
  const resources = { requests: { cpu: '500m' }, limits: { cpu: '1', memory: '64Mi' } }
  const pod: Pod = { metadata: { uid: 'a-b' }, spec: { containers: [{ name: 'main', resources }] } }
  expect(await driver.create(pod)).toBe('kubepods-burstable-poda_b.slice')
  const path = `${burstable}/kubepods-burstable-poda_b.slice`
  const files = ['cpu.weight', 'cpu.max', 'memory.max', 'pids.max']
  expect(files.map((file) => of(path, file))).toEqual(['20', '100000 100000', String(64 << 20), '100'])
  expect(of(burstable, 'cpu.weight')).toBe('20')
  await driver.create(pod, { cpuShares: 1024 })
  expect(files.map((file) => of(path, file))).toEqual(['39', 'max 100000', 'max', '100'])
  expect(await driver.list()).toEqual(['a-b'])
  await driver.remove('a-b')
  expect(await driver.list()).toEqual([])
  await driver.remove('a-b')
})

it.runIf(hasSystemd)('a pod runs in its slice, and leaves nothing there', async () => {
  await using world = await startWholeCluster(
    { configuration: { cgroupRoot: '', cgroupDriver: 'cgroupfs' } },
    undefined,
    { cgroupDriver: 'systemd' },
  )
  const created = await world.create('sliced', { containers: [world.shell(stay)] })
  const running = await world.watched(created, isReady)
  const uid = created.metadata?.uid ?? ''
  const slice = `kubepods-besteffort-pod${uid.replaceAll('-', '_')}.slice`
  const [, id = ''] = /^.*:\/\/(.+)$/.exec(running.status?.containerStatuses?.[0]?.containerID ?? '') ?? []
  const scope = `/kubepods.slice/kubepods-besteffort.slice/${slice}/nodelet-${id}.scope`
  expect(of(scope, 'cgroup.procs')).not.toBe('')
  await world.admin.raw({ method: 'DELETE', path: '/api/v1/namespaces/default/pods/sliced' })
  await expect
    .poll(() => existsSync(join('/sys/fs/cgroup/kubepods.slice/kubepods-besteffort.slice', slice)), { timeout: 60_000 })
    .toBe(false)
})
