import type { LocalPlan } from '../../src/volume/plan.ts'

/** But for its path. */
export const localPlan: LocalPlan = {
  kind: 'local',
  name: 'v',
  specName: 'pv',
  path: '',
  fsType: '',
  volumeMode: 'Filesystem',
  readOnly: false,
  mountOptions: [],
  bound: { claim: {}, volume: {}, readOnly: false },
}
