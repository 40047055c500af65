// What a runtime tells of itself.
import { deepStrictEqual, match, ok, strictEqual } from 'node:assert/strict'
import { CgroupDriver } from '../gen/runtime.ts'
import { isUnimplemented } from '../errors.ts'
import { type Checks, SuiteSkip } from './suite-checks.ts'

export const runtimeChecks: Checks = {
  'Version names the runtime, its version and v1'({ runtimeService }) {
    return runtimeService.version({ version: '0.1.0' }).then(({ version, runtimeName, runtimeVersion, ...rest }) => {
      deepStrictEqual([version, rest.runtimeApiVersion], ['0.1.0', 'v1'])
      ok(runtimeName)
      match(runtimeVersion, /^v?\d+\.\d+/)
    })
  },
  async 'Status has the required conditions, true, and no info unless asked'({ runtimeService }) {
    const { status, info } = await runtimeService.status({ verbose: false })
    const ready = status?.conditions.filter((condition) => condition.status).map(({ type }) => type)
    for (const type of ['RuntimeReady', 'NetworkReady']) ok(ready?.includes(type), `${type} is not true`)
    deepStrictEqual(info, {})
  },
  async 'verbose Status tells its configuration as JSON'({ runtimeService }) {
    const { info } = await runtimeService.status({ verbose: true })
    strictEqual(typeof JSON.parse(info['config'] ?? ''), 'object')
    strictEqual(info['lastCNILoadStatus'], 'OK')
  },
  async 'Status lists the handlers that it runs, the default among them'({ runtimeService, handler }) {
    const { runtimeHandlers } = await runtimeService.status({ verbose: false })
    if (runtimeHandlers.length === 0) throw new SuiteSkip('Status lists no handlers')
    const names = runtimeHandlers.map(({ name }) => name)
    ok(names.includes('') && names.includes(handler), names.join())
    deepStrictEqual(names, names.toSorted())
  },
  async 'RuntimeConfig tells the cgroup driver'({ runtimeService }) {
    try {
      const { linux } = await runtimeService.runtimeConfig({})
      ok(linux && linux.cgroupDriver !== CgroupDriver.UNRECOGNIZED)
    } catch (error) {
      if (isUnimplemented(error)) throw new SuiteSkip('RuntimeConfig is not implemented')
      throw error
    }
  },
  async 'UpdateRuntimeConfig takes a pod CIDR, and none'({ runtimeService }) {
    await runtimeService.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr: '' } } })
    await runtimeService.updateRuntimeConfig({ runtimeConfig: undefined })
  },
}
