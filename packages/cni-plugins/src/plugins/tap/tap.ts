// tap: a link whose other end is a program in the pod, for instance a virtual machine.
import { access } from 'node:fs/promises'
import type { Netlink } from '@nodelet/linux'
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { attachLink, checkAttached, detachLink } from '../../interface/attach.ts'
import { checked } from '../../checked.ts'
import { common } from '../../interface/config.ts'
import { byIpam } from '../../interface/ipam.ts'
import type { WithIpam } from '../../interface/ipam.ts'
import { needing } from '../../kernel-feature.ts'
import { wantedMac } from '../../interface/mac.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import type { CniResult } from '../../types.ts'
import { addLabelledTap } from './labelled.ts'

const id = z.number().int().nonnegative().max(0xffff_fffe).nullish()

export interface TapConfig extends WithIpam {
  mtu: number
  multiQueue: boolean
  owner?: number | null | undefined
  group?: number | null | undefined
  selinuxContext?: string | undefined
  /** Of the pod's namespace. */
  bridge?: string | undefined
  dns?: CniResult['dns'] | undefined
}
const schema: z.ZodType<TapConfig> = z.object({
  mtu: common.mtu,
  multiQueue: z.boolean().default(false),
  owner: id,
  group: id,
  selinuxContext: z.string().optional(),
  bridge: common.linkName.or(z.literal('')).optional(),
  ipam: common.ipam.optional(),
  dns: common.dns,
})

export const tap: DefinedPlugin = definePlugin<TapConfig>({
  name: 'tap',
  config: (config) => checked('tap', schema, config),
  add: async (call, host, signal) =>
    attachLink(call, host, signal, {
      make: async (name, inside) => makeTap(call, name, inside, signal),
      announces: [4],
    }),
  del: async (call, host, signal) => detachLink(call, host, signal),
  check: async (call, host, signal) => void (await checkAttached(call, host, signal, 'tun')),
  gc: byIpam.gc,
  async status(context, host, signal) {
    await needing('tap', access('/dev/net/tun'))
    await byIpam.status(context, host, signal)
  },
})

async function makeTap(
  { config, request }: PluginCall<TapConfig>,
  name: string,
  inside: Netlink,
  signal: AbortSignal,
): Promise<void> {
  const { mtu, multiQueue, selinuxContext, bridge } = config
  const [owner, group] = [config.owner ?? undefined, config.group ?? undefined]
  const mac = wantedMac('tap', request)
  const master = bridge ? await inside.links.get(bridge) : undefined
  if (bridge && !master) throw new CniError(cniCode.internal, `failed to get bridge ${bridge}: there is no such link`)
  const wanted = {
    name,
    multiQueue,
    vnetHeader: owner !== undefined && group !== undefined && !selinuxContext,
    ...(owner !== undefined && { owner }),
    ...(group !== undefined && { group }),
  }
  const made = selinuxContext
    ? addLabelledTap(wanted, selinuxContext, request.network.netns, signal)
    : inside.links.addTap(wanted)
  await needing('tap', made)
  const settings = { ...(mtu && { mtu }), ...(mac !== undefined && { mac }), ...(master && { master: master.index }) }
  if (Object.keys(settings).length > 0) await inside.links.set(name, settings)
}
