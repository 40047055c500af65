// The daemon with its other handler against all that a node relies on.
import { describe } from 'vitest'
import { hasCrun } from '../../../bench/runtime/peers.ts'
import { validate } from './validation/outcomes.ts'

describe.skipIf(!hasCrun())('crun', () => {
  validate('crun', {
    skips: [/kernel has no AppArmor/, /^the handler has no (recursive read-only mounts|user namespaces)$/],
  })
})
