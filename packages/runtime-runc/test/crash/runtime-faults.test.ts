// An OCI runtime that dies, refuses or babbles at each of its calls.
import { testCallFaults } from './call-faults.ts'
import { useFaultyRuntime } from './runtime-fixture.ts'

testCallFaults(useFaultyRuntime(), ['die', 'refuse', 'babble'])
