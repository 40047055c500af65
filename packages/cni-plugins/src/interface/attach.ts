// A pod's link from its birth to its result, as most plugins of links have it: made in the pod's namespace, addressed, set up.
import { openNetlink } from '@nodelet/linux'
import type { Link, Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../errors.ts'
import { vethName } from '../names.ts'
import type { PluginCall } from '../sdk/define-plugin.ts'
import { setSysctl } from '../sysctl.ts'
import type { CniResult, Host } from '../types.ts'
import { undo } from '../undo.ts'
import { checkPodLink } from './check.ts'
import { configure } from './configure.ts'
import { endLink } from './end-link.ts'
import { letGo } from './let-go.ts'
import { checkLease, lease, release } from './ipam.ts'
import type { WithIpam } from './ipam.ts'

type Call = PluginCall<WithIpam & { dns?: CniResult['dns'] | undefined }>

/** Sysctls of a link that has the kernel announce its addresses when it comes up. */
const announcing = { 4: 'arp_notify', 6: 'ndisc_notify' }

export interface LinkOptions {
  /** Families whose addresses are announced; default: none. */
  announces?: readonly (4 | 6)[]
  /** The pod's addresses where a plugin before has them; default: IPAM's, or none without it. */
  given?: CniResult | undefined
}

export interface NewPodLink extends LinkOptions {
  /** Makes the link in the pod's namespace, down. */
  make(name: string, inside: Netlink): Promise<void>
}

/** ADD of a link that is made for the pod: without `ipam` it is only set up. A failure leaves nothing. */
export async function attachLink(call: Call, host: Host, signal: AbortSignal, options: NewPodLink): Promise<CniResult> {
  using inside = openNetlink({ netns: call.network.netns })
  const link = await bear(call, host, inside, options.make)
  const away = async (): Promise<void> => inside.links.delete(link.index)
  return await address(call, host, signal, { ...options, inside, link, away })
}

/** By another name first: older kernels also look for the name where the request is made, where eth0 is the machine's. */
async function bear(
  { network: { ifName }, request }: Call,
  host: Host,
  inside: Netlink,
  make: NewPodLink['make'],
): Promise<Link> {
  const temporary = vethName()
  let isMade = false
  try {
    await make(temporary, inside)
    isMade = true
    await inside.links.set(temporary, { name: ifName })
  } catch (error) {
    await undo(host, async () => inside.links.delete(temporary))
    if (!isMade) throw error
    const message = `failed to rename ${request.config.type} to "${ifName}"`
    throw new CniError(cniCode.internal, message, { details: (error as Error).message, cause: error })
  }
  const link = await inside.links.get(ifName)
  if (!link) throw new CniError(cniCode.internal, `${ifName} is gone`)
  return link
}

export interface PresentLink extends LinkOptions {
  /** Opened in the pod's namespace. */
  inside: Netlink
  link: Link
  /** Takes the link away again when this fails. */
  away(): Promise<unknown>
}

/** The rest of ADD once the link is in the pod's namespace under its name. */
export async function address(
  call: Call,
  host: Host,
  signal: AbortSignal,
  { announces = [], given, inside, link, away }: PresentLink,
): Promise<CniResult> {
  const { network, config, cniVersion } = call
  const { netns, ifName: name } = network
  let owesAddress = false
  try {
    owesAddress = !given && config.ipam !== undefined
    const leased = owesAddress ? await lease(call, host, signal) : given
    const result: CniResult = {
      cniVersion,
      interfaces: [{ name, ...(link.mac && { mac: link.mac }), sandbox: netns }],
      ips: (leased?.ips ?? []).map((ip) => ({ ...ip, interface: 0 })),
      routes: leased?.routes ?? [],
      dns: config.dns ?? {},
    }
    if (leased)
      for (const family of announces) setSysctl(netns, `net/ipv${family}/conf/${name}/${announcing[family]}`, '1')
    await configure(inside, { netns, name, index: link.index, at: 0 }, result, signal)
    return result
  } catch (error) {
    // Last the address: another pod may get it at once.
    await undo(host, away, async () => owesAddress && release(call, host, signal))
    throw error
  }
}

/** DEL of it. @param isExclusive as `endLink` has it */
export async function detachLink(
  call: PluginCall<WithIpam>,
  host: Host,
  signal: AbortSignal,
  isExclusive: boolean = false,
): Promise<void> {
  await letGo(call, host, signal, async () => endLink(call, isExclusive))
}

/** CHECK of it. @param kind as `checkPodLink` has it */
export async function checkAttached(
  call: PluginCall<WithIpam> & { prevResult: CniResult },
  host: Host,
  signal: AbortSignal,
  kind?: string,
): Promise<Link> {
  await checkLease(call, host, signal)
  using inside = openNetlink({ netns: call.network.netns })
  return await checkPodLink(call.request.config.type, inside, call, kind)
}
