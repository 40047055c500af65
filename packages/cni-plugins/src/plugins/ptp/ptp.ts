// ptp: a pair of links between each pod and this machine, which routes: also what pods of one network send each other.
import { openNetlink } from '@nodelet/linux'
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { familiesOf } from '../../families.ts'
import { checkAttached } from '../../interface/attach.ts'
import { checked } from '../../checked.ts'
import { common } from '../../interface/config.ts'
import { configure } from '../../interface/configure.ts'
import { byIpam, lease, release } from '../../interface/ipam.ts'
import { letGo } from '../../interface/let-go.ts'
import { endMasquerade, masquerade } from '../../interface/masquerade.ts'
import { endVeth, makeVeth } from '../../interface/veth.ts'
import type { LinkEnd } from '../../interface/veth.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import { setSysctl } from '../../sysctl.ts'
import type { CniResult, Host } from '../../types.ts'
import { undo } from '../../undo.ts'
import { planPoints } from './plan.ts'
import { checkMachineEnd, routeMachineEnd, routePodEnd } from './routes.ts'

/** The pod's end among the interfaces of the result. */
const podInterface = 1

const schema = z.object({
  mtu: common.mtu,
  ipMasq: z.boolean().default(false),
  ipMasqBackend: common.ipMasqBackend,
  ipam: common.ipam,
  dns: common.dns,
})
type PtpConfig = z.output<typeof schema>
type Call = PluginCall<PtpConfig>

export const ptp: DefinedPlugin = definePlugin<PtpConfig>({
  name: 'ptp',
  config: (config) => checked('ptp', schema, config),
  async add(call, host, signal) {
    using outside = openNetlink({ netns: host.netns })
    let end: LinkEnd | undefined
    try {
      const leased = await lease(call, host, signal)
      const points = planPoints(leased.ips)
      forward(host, leased)
      end = await makeVeth(outside, call.network, { mtu: call.config.mtu })
      setSysctl(host.netns, `net/ipv6/conf/${end.name}/accept_ra`, '0')
      using inside = openNetlink({ netns: call.network.netns })
      const pod = await inside.links.get(call.network.ifName)
      if (!pod) throw new CniError(cniCode.internal, `${call.network.ifName} is gone`)
      const result = resultOf(call, end, pod, leased)
      const { netns } = call.network
      await configure(inside, { netns, name: pod.name, index: pod.index, at: podInterface }, result, signal)
      await routePodEnd(inside, pod.index, points)
      await routeMachineEnd(outside, end.index, points)
      if (call.config.ipMasq) masquerade(call, result, host)
      return result
    } catch (error) {
      // Last the address: another pod may get it at once.
      await undo(
        host,
        async () => end && outside.links.delete(end.index),
        async () => release(call, host, signal),
      )
      throw error
    }
  },

  async del(call, host, signal) {
    if (call.config.ipMasq) endMasquerade(call, host)
    await letGo(call, host, signal, async () => endVeth(call, host))
  },

  async check(call, host, signal) {
    const pod = await checkAttached(call, host, signal, 'veth')
    const own = call.prevResult.ips.filter((ip) => ip.interface === undefined || ip.interface === podInterface)
    using outside = openNetlink({ netns: host.netns })
    await checkMachineEnd(outside, pod.peer, planPoints(own))
  },
  ...byIpam,
})

function forward(host: Host, { ips }: CniResult): void {
  for (const family of familiesOf(ips) ?? [])
    setSysctl(host.netns, family === 4 ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding', '1')
}

function resultOf({ network, config, cniVersion }: Call, end: LinkEnd, pod: LinkEnd, leased: CniResult): CniResult {
  const named = ({ name, mac }: LinkEnd): CniResult['interfaces'][number] => ({ name, ...(mac && { mac }) })
  return {
    cniVersion,
    interfaces: [named(end), { ...named(pod), sandbox: network.netns }],
    ips: leased.ips.map((ip) => ({ ...ip, interface: podInterface })),
    routes: leased.routes,
    dns: config.dns ?? leased.dns,
  }
}
