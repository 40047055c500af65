// bridge: a pair of links between the pod and a bridge of this machine.
import { addressText, isNamespacePinned, LinuxError, openNetlink, parsePrefix } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { familiesOf, familyOf } from '../../families.ts'
import { removeChains } from '../../iptables.ts'
import { masqueradeChain, vethName } from '../../names.ts'
import { setSysctl } from '../../sysctl.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import type { CniResult, Host } from '../../types.ts'
import { checkBridge } from './check.ts'
import { parseBridge } from './config.ts'
import type { BridgeConfig } from './config.ts'
import { masqueradeRemoval, masqueradeRules } from './masquerade.ts'

/** How often another name is tried when the random one is taken. */
const nameTries = 10
/** How long the links may take until they carry traffic, in milliseconds. */
const linkPatienceMs = 3_000

export const bridge: DefinedPlugin = definePlugin({
  name: 'bridge',
  config: parseBridge,
  async add(call, host, signal) {
    const { config, networkName } = call
    const { netns, ifName, containerId } = call.network
    const onHost = hostOption(host)
    using outside = openNetlink(onHost)
    using inside = openNetlink({ netns })
    await ensureBridge(outside, host, config)
    const veth = await makeVeth(outside, config, call)
    let owesAddress = false
    try {
      await inside.setUp(ifName)
      if (config.ipam) await inside.setUp('lo')
      await outside.setMaster(veth, config.bridge)
      if (config.hairpinMode) await outside.setHairpin(veth, true)
      setSysctl(host.netns, `net/ipv6/conf/${veth}/accept_ra`, '0')
      await outside.setUp(veth)
      if (!config.ipam) return await resultOf(call, outside, inside, veth, undefined)
      owesAddress = true
      const leased = withGateways(await host.plugin(config.ipam.type).add(call.request, host, signal), config)
      if (leased.ips.length === 0) throw new CniError(cniCode.internal, 'IPAM plugin returned missing IP config')
      const result = await resultOf(call, outside, inside, veth, leased)
      await configure(inside, netns, ifName, result)
      if (config.isGateway) await makeGateway(outside, host, config, result)
      if (config.ipMasq) {
        for (const family of familiesOf(result.ips) ?? []) {
          const lines = masqueradeRules(networkName, containerId, result.ips, family)
          host.changeRules(family, { lines, from: () => lines })
        }
      }
      await outside.untilOperational(veth, AbortSignal.any([signal, AbortSignal.timeout(linkPatienceMs)]))
      return result
    } catch (error) {
      if (owesAddress && config.ipam) await host.plugin(config.ipam.type).del(call.request, host, signal)
      await outside.deleteLink(veth)
      throw error
    }
  },

  async del(call, host, signal) {
    const { config, networkName: name, network, prevResult } = call
    const { containerId } = network
    if (config.ipMasq) {
      removeChains(host, [masqueradeChain(name, containerId)], familiesOf(prevResult?.ips), (family) =>
        masqueradeRemoval(name, containerId, prevResult?.ips ?? [], family),
      )
    }
    const links = endLinks(call, host)
    const [rules, gone] = await Promise.allSettled([host.settleRules(signal), links])
    for (const done of [rules, gone]) if (done.status === 'rejected') throw done.reason
    // Last: another pod may get the address at once.
    if (config.ipam) await host.plugin(config.ipam.type).del(call.request, host, signal)
  },

  async check(call, host, signal) {
    const { ipam } = call.config
    if (ipam) await host.plugin(ipam.type).check(call.request, host, signal)
    await checkBridge(call, host)
  },

  async gc({ config: { ipam }, valid, request }, host, signal) {
    if (ipam) await host.plugin(ipam.type).gc(request, valid, host, signal)
  },

  async status({ config: { ipam }, request }, host, signal) {
    if (ipam) await host.plugin(ipam.type).status(request, host, signal)
  },
})

/** A link takes the kernel some 20 ms to delete: where the namespace goes anyway, the host's end only goes down. */
async function endLinks(
  { network: { netns, ifName }, prevResult, namespaceGoes }: PluginCall<BridgeConfig>,
  host: Host,
): Promise<void> {
  const ends = (prevResult?.interfaces ?? []).filter(({ name, sandbox }) => !sandbox && /^veth[0-9a-f]{8}$/.test(name))
  const isPinned = isNamespacePinned(netns)
  if (isPinned && !(namespaceGoes && ends.length > 0)) {
    using inside = openNetlink({ netns })
    return inside.deleteLink(ifName)
  }
  using outside = openNetlink(hostOption(host))
  for (const { name } of ends) {
    if (!isPinned) await outside.deleteLink(name)
    else if (await outside.link(name)) await outside.setDown(name)
  }
}

const hostOption = (host: Host): { netns?: string } => (host.netns === undefined ? {} : { netns: host.netns })

/** With isGateway the first address of the subnet is the gateway where IPAM names none. */
function withGateways(leased: CniResult, { isGateway }: BridgeConfig): CniResult {
  if (!isGateway) return leased
  const ips = leased.ips.map((ip) => ({ ...ip, gateway: ip.gateway ?? firstAddress(ip.address) }))
  return { ...leased, ips }
}

async function ensureBridge(outside: Netlink, host: Host, { bridge: name, mtu }: BridgeConfig): Promise<void> {
  let found = await outside.link(name)
  if (!found) {
    try {
      await outside.createBridge(name, { mtu })
    } catch (error) {
      // Another pod was quicker.
      if (!(error instanceof LinuxError && error.code === 'EEXIST')) throw error
    }
    found = await outside.link(name)
  }
  if (found?.kind !== 'bridge') throw new CniError(cniCode.internal, `${name} already exists but is not a bridge`)
  setSysctl(host.netns, `net/ipv6/conf/${name}/accept_ra`, '0')
  if (!found.up) await outside.setUp(name)
}

async function makeVeth(
  outside: Netlink,
  { mtu }: BridgeConfig,
  { network: { netns, ifName } }: PluginCall<BridgeConfig>,
): Promise<string> {
  for (let tries = 1; ; tries += 1) {
    const name = vethName()
    try {
      await outside.createVeth(name, { name: ifName, netns }, { mtu })
      return name
    } catch (error) {
      const isTaken = error instanceof LinuxError && error.code === 'EEXIST'
      if (isTaken && tries < nameTries && (await outside.link(name))) continue
      throw isTaken
        ? new CniError(cniCode.internal, `container veth name ("${ifName}") already exists`, { cause: error })
        : error
    }
  }
}

async function resultOf(
  { network: { netns, ifName }, config, cniVersion }: PluginCall<BridgeConfig>,
  outside: Netlink,
  inside: Netlink,
  veth: string,
  leased: CniResult | undefined,
): Promise<CniResult> {
  const [own, port, eth] = await Promise.all([outside.link(config.bridge), outside.link(veth), inside.link(ifName)])
  const podInterface = 2
  const routes = [...(leased?.routes ?? [])]
  if (config.isDefaultGateway) {
    for (const { address, gateway } of leased?.ips ?? []) {
      const dst = familyOf(address) === 4 ? '0.0.0.0/0' : '::/0'
      if (gateway !== undefined && !routes.some((route) => route.dst === dst && route.gw))
        routes.push({ dst, gw: gateway })
    }
  }
  const named = (name: string, mac: string | undefined): CniResult['interfaces'][number] => ({
    name,
    ...(mac && { mac }),
  })
  return {
    cniVersion,
    interfaces: [
      named(config.bridge, own?.mac),
      named(veth, port?.mac),
      { ...named(ifName, eth?.mac), sandbox: netns },
    ],
    ips: (leased?.ips ?? []).map((ip) => ({ ...ip, interface: podInterface })),
    routes,
    dns: config.dns ?? leased?.dns ?? {},
  }
}

/** Addresses and routes of the pod's end. */
async function configure(inside: Netlink, netns: string, ifName: string, { ips, routes }: CniResult): Promise<void> {
  setSysctl(netns, `net/ipv4/conf/${ifName}/arp_notify`, '1')
  if (ips.some(({ address }) => familyOf(address) === 6)) {
    for (const name of ['lo', ifName]) setSysctl(netns, `net/ipv6/conf/${name}/disable_ipv6`, '0')
    setSysctl(netns, `net/ipv6/conf/${ifName}/accept_dad`, '0')
    setSysctl(netns, `net/ipv6/conf/${ifName}/keep_addr_on_down`, '1')
  }
  for (const { address } of ips) await inside.addAddress(ifName, address)
  for (const { dst, gw } of routes) {
    const gateway = gw ?? ips.find(({ address }) => familyOf(address) === familyOf(dst))?.gateway
    await inside.addRoute({ destination: dst, ...(gateway === undefined ? { link: ifName } : { gateway }) })
  }
}

/** The bridge has the gateway's addresses, and this machine forwards. */
async function makeGateway(
  outside: Netlink,
  host: Host,
  { bridge: name }: BridgeConfig,
  { ips }: CniResult,
): Promise<void> {
  const own = await outside.link(name)
  const present = (await outside.addresses()).filter(({ index }) => index === own?.index).map(({ address }) => address)
  for (const { address, gateway } of ips) {
    if (gateway === undefined) continue
    const wanted = `${gateway}/${address.split('/')[1]}`
    const isV4 = familyOf(wanted) === 4
    setSysctl(host.netns, isV4 ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding', '1')
    if (present.includes(wanted)) continue
    const other = present.find((one) => familyOf(one) === 4)
    if (isV4 && other !== undefined) {
      throw new CniError(cniCode.internal, `"${name}" already has an IP address different from ${wanted}`, {
        details: `it is ${other}: remove it or use another bridge`,
      })
    }
    try {
      await outside.addAddress(name, wanted)
    } catch (error) {
      if (!(error instanceof LinuxError && error.code === 'EEXIST')) throw error // another pod was quicker
    }
  }
  // Set to itself it stays, instead of following that of the newest port.
  if (own?.mac !== undefined) await outside.setMac(name, own.mac)
}

function firstAddress(prefix: string): string {
  const { bytes, length } = parsePrefix(prefix)
  const bits = bytes.length * 8
  const host = (1n << BigInt(bits - length)) - 1n
  const first = (BigInt(`0x${bytes.toString('hex')}`) & ~host) | 1n
  return addressText(Buffer.from(first.toString(16).padStart(bits / 4, '0'), 'hex'))
}
