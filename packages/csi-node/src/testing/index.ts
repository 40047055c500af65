export { driverSuite } from './suite.ts'
export type { DriverUnderTest, SuiteCase } from './subject.ts'
