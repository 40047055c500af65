export { createHostpathDriver } from './driver.ts'
export type { HostpathOptions } from './options.ts'
