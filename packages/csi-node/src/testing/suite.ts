// The same calls for any driver.
import { controllerCases } from './controller-cases.ts'
import { identityCases } from './identity-cases.ts'
import { nodeCases } from './node-cases.ts'
import { snapshotCases } from './snapshot-cases.ts'
import { type DriverUnderTest, NotClaimed, Session, type SuiteCase } from './subject.ts'

/**
 * What the specification asks of a driver, as cases for any test runner. Cases about what the driver does not claim answer
 * `not claimed`; most need CREATE_DELETE_VOLUME, since they make their own volumes. `subject` is asked at the start of each case.
 * Needs root, as drivers do.
 */
export function driverSuite(subject: () => DriverUnderTest): SuiteCase[] {
  return Object.entries({ ...identityCases, ...controllerCases, ...snapshotCases, ...nodeCases }).map(
    ([name, check]) => ({
      name,
      run: async () => {
        await using session = new Session(subject())
        try {
          await check(session)
          return 'passed'
        } catch (error) {
          if (error instanceof NotClaimed) return 'not claimed'
          throw error
        }
      },
    }),
  )
}
