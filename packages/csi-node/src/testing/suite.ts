// The same calls for any driver.
import { AssertionError } from 'node:assert'
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
        try {
          return await runCase(subject(), check)
        } catch (error) {
          throw inWords(error)
        }
      },
    }),
  )
}

async function runCase(
  subject: DriverUnderTest,
  check: (session: Session) => Promise<void>,
): Promise<'passed' | 'not claimed'> {
  await using session = new Session(subject)
  try {
    await check(session)
    return 'passed'
  } catch (error) {
    if (error instanceof NotClaimed) return 'not claimed'
    throw error
  }
}

/** What is wrong, before what could not be taken away then: of both together runners show neither. */
function inWords(error: unknown): unknown {
  if (!(error instanceof SuppressedError)) return error
  const all = errorsOf(error)
  return new AssertionError({ message: all.map((each) => (each as Error).message).join('; then: ') })
}

const errorsOf = (error: unknown): unknown[] =>
  error instanceof SuppressedError ? [...errorsOf(error.suppressed), ...errorsOf(error.error)] : [error]
