// dhcp: addresses from servers of the pod's network. The leases are held by this process where it stays, else by a daemon.
import { join } from 'node:path'
import { CniError, cniCode } from '../../errors.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall, PluginContext } from '../../sdk/define-plugin.ts'
import type { Host } from '../../types.ts'
import { parseDhcp, providedOptions } from './config.ts'
import type { DhcpConfig } from './config.ts'
import type { LeaseHolder, LeaseKey, LeaseRequest } from './leases.ts'
import { defaultSocketPath, remoteLeases } from './remote.ts'
import type { RemoteLeases } from './remote.ts'
import type { Lease } from './lease.ts'

export const dhcp: DefinedPlugin = definePlugin({
  name: 'dhcp',
  config: parseDhcp,
  async add(call, host, signal) {
    const { config, cniVersion } = call
    const { address, gateway, routes } = await allocate(call, host, signal)
    return {
      cniVersion,
      interfaces: [],
      ips: [{ address, ...(gateway !== undefined && { gateway }) }],
      routes: routes.map((route) => ({ ...route, ...(config.priority > 0 && { priority: config.priority }) })),
      dns: {},
    }
  },
  async del(call, host, signal) {
    await (await holderOf(call, host)).release(keyOf(call), signal)
  },
  async check(call, host, signal) {
    const { address } = await allocate(call, host, signal)
    if (call.prevResult.ips.some((ip) => ip.address === address)) return
    throw new CniError(cniCode.internal, `dhcp: the lease of ${call.network.ifName} is ${address} now`)
  },
  async gc(call, host, signal) {
    await (await holderOf(call, host)).releaseOthers(call.networkName, call.valid, signal)
  },
  async status(call, host, signal) {
    const holder = await holderOf(call, host)
    if (!('ping' in holder)) return
    try {
      await holder.ping(signal)
    } catch (cause) {
      throw new CniError(cniCode.notAvailable, `dhcp: ${(cause as Error).message}`, { cause })
    }
  },
})

async function holderOf(
  { config: { daemonSocketPath } }: PluginContext<DhcpConfig>,
  { keep, addressDir, log }: Host,
): Promise<LeaseHolder | RemoteLeases> {
  if (daemonSocketPath !== undefined || !keep) return remoteLeases(daemonSocketPath ?? defaultSocketPath)
  return keep('dhcp', async () => {
    const { openLeases } = await import('./leases.ts')
    // No network has a name that begins with a dot.
    return openLeases({ folder: join(addressDir, '.dhcp'), log })
  })
}

async function allocate(call: PluginCall<DhcpConfig>, host: Host, signal: AbortSignal): Promise<Lease> {
  const { config, network } = call
  const request: LeaseRequest = {
    ...keyOf(call),
    netns: network.netns,
    provide: providedOptions(config, network.args),
    request: config.request,
  }
  return (await holderOf(call, host)).allocate(request, signal)
}

const keyOf = ({ networkName, network: { containerId, ifName } }: PluginCall<DhcpConfig>): LeaseKey => ({
  network: networkName,
  containerId,
  ifName,
})
