// The link that pods' links are made on: macvlan, ipvlan and vlan.
import { openNetlink } from '@nodelet/linux'
import type { Link, LinkDetails, Netlink } from '@nodelet/linux'
import { z } from 'zod'
import { CniError, cniCode } from '../errors.ts'
import type { PluginCall, PluginContext } from '../sdk/define-plugin.ts'
import type { Host, RequestConfig } from '../types.ts'
import type { NewPodLink } from './attach.ts'
import { common } from './config.ts'
import { byIpam } from './ipam.ts'
import type { WithIpam } from './ipam.ts'
import { needing } from '../kernel-feature.ts'

export interface WithMaster {
  /** Default: the link of the default route. */
  master?: string | undefined
  /** Whether the master is in the pod's namespace. */
  linkInContainer: boolean
  /** 0: the master's. */
  mtu: number
}

export const masterKeys: {
  master: z.ZodType<string | undefined>
  linkInContainer: z.ZodType<boolean, boolean | undefined>
  mtu: z.ZodType<number, number | undefined>
} = {
  master: common.linkName
    .or(z.literal(''))
    .nullish()
    .transform((name) => name || undefined),
  linkInContainer: z.boolean().default(false),
  mtu: common.mtu,
}

type ChildSettings = Extract<LinkDetails, { kind: 'macvlan' | 'ipvlan' | 'vlan' }> & { mac?: string }

/** Makes links on the master, born in the pod's namespace. @param look may refuse a master */
export function onMaster(
  { config: { master: wanted, linkInContainer, mtu }, network: { netns } }: PluginCall<WithMaster>,
  host: Host,
  settings: ChildSettings,
  look: (master: Link) => void = () => undefined,
): NewPodLink['make'] {
  return async (name, inside) => {
    using outside = openNetlink({ netns: host.netns })
    const master = await findMaster(linkInContainer ? inside : outside, wanted)
    look(master)
    const link = { ...settings, name, parent: master.index, ...(mtu && { mtu }) }
    await needing<unknown>(link.kind, linkInContainer ? inside.links.add(link) : outside.links.addTo(netns, link))
  }
}

/** A link cannot carry more than the one below. */
export const limitMtu =
  ({ config: { mtu } }: PluginCall<WithMaster>) =>
  (master: Link): void => {
    if (mtu <= master.mtu) return
    throw new CniError(cniCode.badConfig, `invalid MTU ${mtu}, must be [0, master MTU(${master.mtu})]`)
  }

/** @throws CniError when it is not there, or when there is no default route */
async function findMaster(place: Netlink, wanted: string | undefined): Promise<Link> {
  const sought = wanted ?? (await defaultLink(place))
  const link = await place.links.get(sought)
  if (!link) throw new CniError(cniCode.notAvailable, `failed to lookup master "${sought}": there is no such link`)
  return link
}

async function defaultLink({ routes }: Netlink): Promise<number> {
  for (const family of [4, 6] as const) {
    for (const { destination, index, nextHops } of await routes.list({ family, type: 'unicast' })) {
      const link = index ?? nextHops?.[0]?.index
      if (/^(0\.0\.0\.0|::)\/0$/.test(destination) && link !== undefined) return link
    }
  }
  throw new CniError(cniCode.notAvailable, 'no default route interface found')
}

/** What CHECK has to say of the master where it is named: the kernel takes the link with it. */
export async function checkMaster(
  { config: { master, linkInContainer }, network: { netns }, request }: PluginCall<WithMaster>,
  host: Host,
  link: Link,
): Promise<void> {
  if (master === undefined) return
  using place = openNetlink({ netns: linkInContainer ? netns : host.netns })
  if ((await findMaster(place, master)).index === link.parent) return
  throw new CniError(cniCode.internal, `${request.config.type}: ${link.name} is not on ${master}`)
}

/** STATUS: the master is there, which for one in the pod's namespace cannot be told. */
export async function masterStatus(
  context: PluginContext<WithMaster & WithIpam> & { request: RequestConfig },
  host: Host,
  signal: AbortSignal,
): Promise<void> {
  const { master, linkInContainer } = context.config
  if (!linkInContainer) {
    using outside = openNetlink({ netns: host.netns })
    await findMaster(outside, master)
  }
  await byIpam.status(context, host, signal)
}
