// The daemon over its socket against all that a node relies on.
import { validate } from './validation/outcomes.ts'

validate('nodelet', {
  skips: [/kernel has no AppArmor/],
})
