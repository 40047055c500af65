// The daemon over its socket against all that a node relies on.
import { validate } from './validation/outcomes.ts'

validate('nodelet', {
  unsteady: {
    'exec: Exec: a terminal with input': 'on a busy machine runc 1.1 ends the first lines with \\r\\r\\n',
  },
  skips: [/kernel has no AppArmor/],
})
