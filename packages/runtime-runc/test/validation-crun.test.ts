// The daemon with its other handler against all that a node relies on.
import { describe } from 'vitest'
import { hasCrun } from '../../../bench/runtime/peers.ts'
import { validate } from './validation/outcomes.ts'

describe.skipIf(!hasCrun())('crun', () => {
  validate('crun', {
    unsteady: {
      'exec: Exec: a terminal with input': 'on a busy machine crun 1.8 shows the output as its own complaint',
    },
    skips: [/kernel has no AppArmor/, /^the handler has no (recursive read-only mounts|user namespaces)$/],
  })
})
