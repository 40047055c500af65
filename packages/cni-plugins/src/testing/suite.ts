// The same calls for any plugin, in either form.
import { protocolCases } from './protocol-cases.ts'
import type { PluginUnderTest, SuiteCase } from './subject.ts'
import { verbCases } from './verb-cases.ts'

/**
 * What every plugin must do by the specification, as cases that leave nothing behind; verbs that are younger than the versions
 * that it speaks are left out. `subject` is asked at the start of each case. Failures are `AssertionError`s. Needs root.
 */
export function pluginSuite(subject: () => PluginUnderTest): SuiteCase[] {
  return Object.entries({ protocol: protocolCases, verbs: verbCases }).flatMap(([part, cases]) =>
    Object.entries(cases).map(([name, check]) => ({
      name,
      part: part as SuiteCase['part'],
      run: async () => check(subject()),
    })),
  )
}
