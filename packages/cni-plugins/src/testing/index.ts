export { inProcess, program } from './forms.ts'
export type { PluginForm } from './forms.ts'
export { pluginSuite } from './suite.ts'
export type { PluginUnderTest, SuiteCase } from './subject.ts'
