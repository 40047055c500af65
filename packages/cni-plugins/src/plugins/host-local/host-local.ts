// host-local: addresses from ranges, kept in files of this machine.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { addressBytes } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginContext } from '../../sdk/define-plugin.ts'
import type { CniResult, Host, PluginAttachment } from '../../types.ts'
import { refuseSeveral, splitList } from '../ipam-config.ts'
import { assignWanted, isInRange, nextAddress } from './allocator.ts'
import { addressOf, parseHostLocal } from './config.ts'
import type { HostLocalConfig, Range } from './config.ts'
import { parseResolvConf } from './resolv-conf.ts'
import { openAddressStore } from './store.ts'
import type { AddressStore } from './store.ts'

const folderOf = ({ networkName, config }: PluginContext<HostLocalConfig>, host: Host): string =>
  join(config.dataDir ?? host.addressDir, networkName)

export const hostLocal: DefinedPlugin = definePlugin({
  name: 'host-local',
  args: ['IP'],
  config: parseHostLocal,
  async add(call, host) {
    const { config, cniVersion, network } = call
    const { sets, routes } = config
    if (sets.length === 0) throw new CniError(cniCode.badConfig, 'no IP ranges specified')
    refuseSeveral(
      cniVersion,
      sets.flatMap(([range]) => range?.subnet ?? []),
    )
    const dns = dnsOf(config)
    const wanted = assignWanted(sets, [...splitList(network.args['IP']), ...config.wanted])
    const store = openAddressStore(folderOf(call, host))
    // All of it at once: no other call of this process comes between.
    const [owned] = store.owned(network.containerId, network.ifName)
    if (owned !== undefined) {
      throw new CniError(
        cniCode.internal,
        `${owned} has been allocated to ${network.containerId}, duplicate allocation is not allowed`,
      )
    }
    const ips: CniResult['ips'] = []
    try {
      for (const [index, ranges] of sets.entries()) {
        const set = { index, ranges, wanted: wanted.get(index) }
        ips.push(set.wanted === undefined ? allocate(store, set, network) : take(store, set, set.wanted, network))
      }
    } catch (error) {
      store.release(ips.map(({ address }) => address.split('/')[0] ?? ''))
      throw error
    }
    return { cniVersion, interfaces: [], ips, routes, dns }
  },
  async del(call, host) {
    const store = openAddressStore(folderOf(call, host))
    const given = (call.prevResult?.ips ?? []).map(({ address }) => address.split('/')[0] ?? '')
    store.release(store.owned(call.network.containerId, call.network.ifName, given))
  },
  async check(call, host) {
    const { containerId, ifName } = call.network
    if (openAddressStore(folderOf(call, host)).owned(containerId, ifName).length > 0) return
    throw new CniError(cniCode.internal, `host-local: Failed to find address added by container ${containerId}`)
  },
  async gc(call, host) {
    openAddressStore(folderOf(call, host)).releaseOthers(call.valid)
  },
  async status(call, host) {
    dnsOf(call.config)
    const taken = openAddressStore(folderOf(call, host)).taken()
    const full = call.config.sets.filter((ranges) => !nextAddress(ranges, undefined, (address) => !taken.has(address)))
    if (full.length === 0) return
    const sets = full.map(setText).join('; ')
    throw new CniError(cniCode.notAvailable, `host-local: no IP addresses available in range set: ${sets}`)
  },
})

function dnsOf({ resolvConf }: HostLocalConfig): CniResult['dns'] {
  if (resolvConf === undefined) return {}
  try {
    return parseResolvConf(readFileSync(resolvConf, 'utf8'))
  } catch (cause) {
    throw new CniError(cniCode.io, `host-local: ipam.resolvConf: ${(cause as Error).message}`, { cause })
  }
}

interface AddressSet {
  index: number
  ranges: readonly Range[]
  wanted: string | undefined
}

/** The address that was asked for. */
function take(
  store: AddressStore,
  { index, ranges }: AddressSet,
  address: string,
  { containerId, ifName }: PluginAttachment,
): CniResult['ips'][number] {
  const range = ranges.find((one) => isInRange(one, address))
  if (!range || !store.take(address, containerId, ifName)) {
    throw new CniError(
      cniCode.internal,
      `failed to allocate for range ${index}: requested IP address ${address} is not available in range set ${setText(ranges)}`,
    )
  }
  return { address: `${address}/${range.prefix}`, gateway: addressOf(range.gateway, range.bits) }
}

function allocate(
  store: AddressStore,
  { index, ranges }: AddressSet,
  { containerId, ifName }: PluginAttachment,
): CniResult['ips'][number] {
  const taken = store.taken()
  const last = store.last(index)
  for (;;) {
    const from = last === undefined ? undefined : BigInt(`0x${addressBytes(last).toString('hex')}`)
    const found = nextAddress(ranges, from, (address) => !taken.has(address))
    if (!found) {
      throw new CniError(
        cniCode.internal,
        `failed to allocate for range ${index}: no IP addresses available in range set: ${setText(ranges)}`,
      )
    }
    const { address, range } = found
    if (store.take(address, containerId, ifName)) {
      store.setLast(index, address)
      return { address: `${address}/${range.prefix}`, gateway: addressOf(range.gateway, range.bits) }
    }
    taken.add(address) // another process was quicker
  }
}

const setText = (ranges: readonly Range[]): string =>
  ranges.map(({ start, end, bits }) => `${addressOf(start, bits)}-${addressOf(end, bits)}`).join(',')
