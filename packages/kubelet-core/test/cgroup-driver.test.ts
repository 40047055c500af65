import { CriError, RuntimeConfigResponse } from '@nodelet/cri-api'
import { expect, it } from 'vitest'
import { checkCgroupDriver } from '../src/resource/driver-of-runtime.ts'

const says = (cgroupDriver: 'SYSTEMD' | 'CGROUPFS') => ({
  runtimeConfig: async () => RuntimeConfigResponse.fromJSON({ linux: { cgroupDriver } }),
})
const silent = {
  runtimeConfig: async (): Promise<never> => {
    throw new CriError('UNIMPLEMENTED', 'unknown method')
  },
}

it.each([
  ['the runtime wins', says('CGROUPFS'), 'systemd', undefined],
  ['the runtime wins, also where that cannot be', says('SYSTEMD'), 'cgroupfs', /^the runtime says "systemd"/],
  ['the configuration, where the runtime is silent', silent, 'systemd', /^cgroupDriver says "systemd"/],
  ['both say it', silent, 'cgroupfs', undefined],
] as const)('%s', async (_what, runtime, cgroupDriver, problem) => {
  const checked = checkCgroupDriver(runtime, { cgroupDriver })
  if (problem) await expect(checked).rejects.toThrow(problem)
  else await checked
})
