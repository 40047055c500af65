// ipvlan: links that share the MAC of a link of this machine.
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { attachLink, checkAttached, detachLink } from '../../interface/attach.ts'
import { checked } from '../../checked.ts'
import { common } from '../../interface/config.ts'
import { byIpam } from '../../interface/ipam.ts'
import { checkMaster, masterKeys, masterStatus, onMaster } from '../../interface/master.ts'
import { checkMode, modeKey } from '../../interface/mode.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'

const schema = z.object({
  ...masterKeys,
  mode: modeKey('ipvlan', ['l2', 'l3', 'l3s']),
  ipam: common.ipam.optional(),
  dns: common.dns,
})
type IpvlanConfig = z.output<typeof schema>

export const ipvlan: DefinedPlugin = definePlugin<IpvlanConfig>({
  name: 'ipvlan',
  config: (config) => checked('ipvlan', schema, config),
  async add(call, host, signal) {
    const { config, prevResult } = call
    const given = !config.ipam && prevResult && prevResult.ips.length > 0 ? prevResult : undefined
    if (!given && !config.ipam) throw new CniError(cniCode.badConfig, 'ipvlan: ipam: missing')
    const on = { ...call, config: { ...config, master: config.master ?? chainedMaster(call) } }
    const make = onMaster(on, host, { kind: 'ipvlan', mode: config.mode })
    return attachLink(call, host, signal, { make, announces: [4, 6], given })
  },
  // Its addresses are taken on the master as long as it is there.
  del: async (call, host, signal) => detachLink(call, host, signal, true),
  async check(call, host, signal) {
    const link = await checkAttached(call, host, signal, 'ipvlan')
    checkMode(link, 'ipvlan', call.config.mode)
    await checkMaster(call, host, link)
  },
  gc: byIpam.gc,
  async status(context, host, signal) {
    // The master that is not named may be that of a plugin before.
    if (context.config.master === undefined) await byIpam.status(context, host, signal)
    else await masterStatus(context, host, signal)
  },
})

/** After other plugins the one interface that they made is the master. */
function chainedMaster({ prevResult }: PluginCall<IpvlanConfig>): string | undefined {
  if (!prevResult) return undefined
  const [only, ...more] = prevResult.interfaces
  if (only?.name && more.length === 0) return only.name
  throw new CniError(cniCode.badConfig, 'chained master failure. PrevResult lacks a single named interface')
}
