// portmap: ports of the host that lead to the pod.
import { isWithin, openNetlink } from '@nodelet/linux'
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { removalOf } from '../../iptables.ts'
import { hostPortChain } from '../../names.ts'
import { setSysctl } from '../../sysctl.ts'
import type { Host, Plugin, PluginCall, PortMapping } from '../../types.ts'
import { portmapRules } from './rules.ts'

interface PortmapConfig {
  snat: boolean
  markMasqBit: number
  mappings: PortMapping[]
}

const port = z.number().int().min(1).max(65_535)
const schema = z.object({
  snat: z.boolean().default(true),
  markMasqBit: z.number().int().min(0).max(31).default(13),
  backend: z.literal('iptables').optional(),
  runtimeConfig: z
    .object({
      portMappings: z
        .array(
          z.object({
            hostPort: port,
            containerPort: port,
            protocol: z
              .string()
              .toLowerCase()
              .pipe(z.enum(['tcp', 'udp', 'sctp'])),
            hostIP: z.string().optional(),
          }),
        )
        .default([]),
    })
    .default({ portMappings: [] }),
})

function parsePortmap({ config }: PluginCall): PortmapConfig {
  const parsed = schema.safeParse(config)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new CniError(cniCode.badConfig, `portmap: ${issue?.path.join('.')}: ${issue?.message}`)
  }
  const { snat, markMasqBit, runtimeConfig } = parsed.data
  const mappings = runtimeConfig.portMappings.map(({ hostIP, ...rest }) => ({
    ...rest,
    ...(hostIP !== undefined && { hostIP }),
  }))
  return { snat, markMasqBit, mappings }
}

export const portmap: Plugin = {
  async add(call, host, signal) {
    const { prevResult, network, config } = call
    if (!prevResult) throw new CniError(cniCode.badConfig, 'must be called as chained plugin')
    const { snat, markMasqBit, mappings } = parsePortmap(call)
    if (mappings.length === 0) return prevResult
    for (const family of [4, 6] as const) {
      const podAddress = prevResult.ips.find(({ address }) => address.includes(':') === (family === 6))?.address
      if (podAddress === undefined) continue
      const { containerId } = network
      const options = { network: config.name, containerId, mappings, podAddress, snat, markBit: markMasqBit }
      await host.rules(family).edit((saved) => portmapRules({ ...options, saved }), signal)
      if (snat && family === 4) await allowLoopback(host, podAddress.split('/')[0] ?? '')
    }
    return prevResult
  },
  async del(call, host, signal) {
    const { mappings } = parsePortmap(call)
    if (mappings.length === 0) return
    const chain = hostPortChain(call.config.name, call.network.containerId)
    const ips = call.prevResult?.ips
    for (const family of [4, 6] as const) {
      if (ips && !ips.some(({ address }) => address.includes(':') === (family === 6))) continue
      await host.rules(family).edit((saved) => removalOf(saved, [chain]), signal)
    }
  },
}

/** Packets from 127.0.0.1 may leave towards the pod. */
async function allowLoopback(host: Host, pod: string): Promise<void> {
  using netlink = openNetlink(host.netns === undefined ? {} : { netns: host.netns })
  const links = new Map((await netlink.links()).map(({ index, name }) => [index, name]))
  const route = (await netlink.routes()).find(
    ({ destination, gateway }) => gateway === undefined && !destination.endsWith('/0') && isWithin(pod, destination),
  )
  const name = links.get(route?.index ?? -1)
  if (name !== undefined) setSysctl(host.netns, `net/ipv4/conf/${name}/route_localnet`, '1')
}
