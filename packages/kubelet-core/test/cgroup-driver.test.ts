import { CriError, RuntimeConfigResponse } from '@nodelet/cri-api'
import { expect, it } from 'vitest'
import { cgroupDriverOf } from '../src/resource/driver-of-runtime.ts'
import { rootSlicePath, sliceName, slicePath } from '../src/resource/slices.ts'
import { sliceProperties } from '../src/resource/systemd-driver.ts'

const says = (cgroupDriver: 'SYSTEMD' | 'CGROUPFS') => ({
  runtimeConfig: async () => RuntimeConfigResponse.fromJSON({ linux: { cgroupDriver } }),
})
const silent = {
  runtimeConfig: async (): Promise<never> => {
    throw new CriError('UNIMPLEMENTED', 'unknown method')
  },
}

it.each([
  ['the runtime wins', says('CGROUPFS'), 'systemd', 'cgroupfs'],
  ['the runtime wins, also with systemd', says('SYSTEMD'), 'cgroupfs', 'systemd'],
  ['the configuration, where the runtime is silent', silent, 'systemd', 'systemd'],
] as const)('%s', async (_what, runtime, cgroupDriver, expected) => {
  expect(await cgroupDriverOf(runtime, { cgroupDriver })).toBe(expected)
})

it.each([
  ['', undefined, undefined, '/kubepods.slice'],
  ['/', 'BestEffort', 'a-b', '/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-poda_b.slice'],
  ['/x-y', 'Guaranteed', 'a', '/x_y.slice/x_y-kubepods.slice/x_y-kubepods-poda.slice'],
] as const)('below %j, %s, pod %s: %s', (root, qos, uid, path) => {
  expect(slicePath(sliceName(root, qos, uid))).toBe(path)
})

it('all slices of a node are below one', () => {
  expect(rootSlicePath('/x-y/z')).toBe('/x_y.slice/x_y-z.slice')
})

it('limits are properties of systemd; what is not limited is told so', () => {
  expect(
    sliceProperties({ cpuShares: 1024, cpuQuotaUs: 12_345, cpuPeriodUs: 100_000, memoryBytes: 1024, pids: 5 }, 2),
  ).toEqual(['CPUWeight=39', 'CPUQuota=12.35%', 'CPUQuotaPeriodSec=100000us', 'MemoryMax=1024', 'TasksMax=5'])
  expect(sliceProperties({ cpuShares: 2 }, 1)).toEqual([
    'CPUShares=2',
    'CPUQuota=',
    'MemoryMax=infinity',
    'TasksMax=infinity',
  ])
})
