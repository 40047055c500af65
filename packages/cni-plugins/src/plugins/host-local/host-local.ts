// host-local: addresses from ranges, kept in files of this machine.
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { addressBytes } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { withFileLock } from '../../file-lock.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginContext } from '../../sdk/define-plugin.ts'
import type { CniResult, Host, PluginAttachment } from '../../types.ts'
import { refuseSeveral, splitList } from '../ipam-config.ts'
import { assignWanted, isInRange, nextAddress } from './allocator.ts'
import { addressOf, parseHostLocal } from './config.ts'
import type { HostLocalConfig, Range } from './config.ts'
import { parseResolvConf } from './resolv-conf.ts'
import { withAddresses } from './store.ts'
import type { AddressStore } from './store.ts'

/** The addresses of the network for this process alone: it does all at once, so that others seldom wait. */
async function withStore<Value>(
  { networkName, config }: PluginContext<HostLocalConfig>,
  host: Host,
  signal: AbortSignal,
  work: (store: AddressStore) => Value,
): Promise<Value> {
  const folder = join(config.dataDir ?? host.addressDir, networkName)
  mkdirSync(folder, { recursive: true, mode: 0o755 })
  return withFileLock(join(folder, 'lock'), 'made', signal, () => withAddresses(folder, work))
}

export const hostLocal: DefinedPlugin = definePlugin({
  name: 'host-local',
  args: ['IP'],
  config: parseHostLocal,
  async add(call, host, signal) {
    const { config, cniVersion, network } = call
    const { sets, routes } = config
    if (sets.length === 0) throw new CniError(cniCode.badConfig, 'no IP ranges specified')
    refuseSeveral(
      cniVersion,
      sets.flatMap(([range]) => range?.subnet ?? []),
    )
    const dns = dnsOf(config)
    const wanted = assignWanted(sets, [...splitList(network.args['IP']), ...config.wanted])
    const ips = await withStore(call, host, signal, (store) => allocateAll(store, sets, wanted, network))
    return { cniVersion, interfaces: [], ips, routes, dns }
  },
  async del(call, host, signal) {
    const { containerId, ifName } = call.network
    await withStore(call, host, signal, (store) => store.release(store.owned(containerId, ifName)))
  },
  async check(call, host, signal) {
    const { containerId, ifName } = call.network
    const owned = await withStore(call, host, signal, (store) => store.owned(containerId, ifName))
    if (owned.length > 0) return
    throw new CniError(cniCode.internal, `host-local: Failed to find address added by container ${containerId}`)
  },
  async gc(call, host, signal) {
    await withStore(call, host, signal, (store) => store.releaseOthers(call.valid))
  },
  async status(call, host, signal) {
    dnsOf(call.config)
    const full = await withStore(call, host, signal, ({ isFree }) =>
      call.config.sets.filter((ranges) => !nextAddress(ranges, undefined, isFree)),
    )
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

/** One address of each set, or none at all. @throws CniError when a set has none, or the pod has some already */
function allocateAll(
  store: AddressStore,
  sets: HostLocalConfig['sets'],
  wanted: ReadonlyMap<number, string>,
  network: PluginAttachment,
): CniResult['ips'] {
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
  return ips
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
  const last = store.last(index)
  for (;;) {
    const from = last === undefined ? undefined : BigInt(`0x${addressBytes(last).toString('hex')}`)
    const found = nextAddress(ranges, from, store.isFree)
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
    // Another program was quicker.
  }
}

const setText = (ranges: readonly Range[]): string =>
  ranges.map(({ start, end, bits }) => `${addressOf(start, bits)}-${addressOf(end, bits)}`).join(',')
