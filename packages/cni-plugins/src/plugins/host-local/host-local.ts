// host-local: addresses from ranges, kept in files of this machine.
import { join } from 'node:path'
import { addressBytes } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import type { CniResult, Host, Plugin, PluginCall } from '../../types.ts'
import { nextAddress } from './allocator.ts'
import { addressOf, parseHostLocal } from './config.ts'
import { openAddressStore } from './store.ts'
import type { AddressStore } from './store.ts'

const folderOf = ({ config }: PluginCall, host: Host, dataDir: string | undefined): string =>
  join(dataDir ?? host.addressDir, config.name)

export const hostLocal: Plugin = {
  async add(call, host) {
    const { config, network } = call
    const { sets, routes, dataDir } = parseHostLocal(config.ipam)
    const folder = folderOf(call, host, dataDir)
    const store = openAddressStore(folder)
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
      for (const [index] of sets.entries()) ips.push(allocate(store, sets, index, network))
    } catch (error) {
      store.release(ips.map(({ address }) => address.split('/')[0] ?? ''))
      throw error
    }
    return {
      cniVersion: config.cniVersion,
      interfaces: [],
      ips,
      routes: routes.map(({ dst, gw }) => ({ dst, ...(gw !== undefined && { gw }) })),
      dns: {},
    }
  },
  async del(call, host) {
    const { dataDir } = parseHostLocal(call.config.ipam)
    const folder = folderOf(call, host, dataDir)
    const store = openAddressStore(folder)
    const given = (call.prevResult?.ips ?? []).map(({ address }) => address.split('/')[0] ?? '')
    store.release(store.owned(call.network.containerId, call.network.ifName, given))
  },
  async status(config) {
    parseHostLocal(config.ipam)
  },
}

function allocate(
  store: AddressStore,
  sets: ReturnType<typeof parseHostLocal>['sets'],
  index: number,
  { containerId, ifName }: PluginCall['network'],
): CniResult['ips'][number] {
  const ranges = sets[index] ?? []
  const taken = store.taken()
  const last = store.last(index)
  for (;;) {
    const from = last === undefined ? undefined : BigInt(`0x${addressBytes(last).toString('hex')}`)
    const found = nextAddress(ranges, from, (address) => !taken.has(address))
    if (!found) {
      const all = ranges.map(({ start, end, bits }) => `${addressOf(start, bits)}-${addressOf(end, bits)}`).join(',')
      throw new CniError(
        cniCode.internal,
        `failed to allocate for range ${index}: no IP addresses available in range set: ${all}`,
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
