// Plugins that ask the machine for all that it gives.
import { definePlugin } from '@nodelet/cni-plugins/sdk'

/** Has all done by the plugin that `by` names, and adds a rule of its own. */
export const asking = definePlugin({
  name: 'asking',
  config: (config) => config as typeof config & { by: string; chain: string },
  async add({ config, request }, host, signal) {
    const plugin = host.plugin(config.by)
    host.log.warn({ err: new Error('seen'), versions: await plugin.versions(host, signal) }, 'adding')
    const result = await plugin.add(request, host, signal)
    const lines = [`:${config.chain} - [0:0]`]
    host.changeRules(4, { lines, from: () => lines })
    return result
  },
  async del({ config, request }, host, signal) {
    await host.plugin(config.by).del(request, host, signal)
  },
  async check({ config, request }, host, signal) {
    await host.plugin(config.by).check(request, host, signal)
  },
  async gc({ config, request, valid }, host, signal) {
    await host.plugin(config.by).gc(request, valid, host, signal)
  },
  async status({ config, request }, host, signal) {
    await host.plugin(config.by).status(request, host, signal)
  },
})

/** Another of the same file. */
export const second = definePlugin({
  name: 'second',
  versions: ['1.0.0'],
  config: () => ({}),
  add: async ({ prevResult, cniVersion }) =>
    prevResult ?? { cniVersion, interfaces: [], ips: [], routes: [], dns: { domain: String(process.pid) } },
  del: async () => undefined,
})
