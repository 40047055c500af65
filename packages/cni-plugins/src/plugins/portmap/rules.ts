// portmap's rules. Pure.
import { comment, hostPortChain } from '../../names.ts'
import type { PortMapping } from '../../types.ts'

export const sharedChains = ['CNI-HOSTPORT-SETMARK', 'CNI-HOSTPORT-MASQ', 'CNI-HOSTPORT-DNAT'] as const
const [setMark, masq, dnat] = sharedChains
/** As many ports as one multiport match takes. */
const portsPerRule = 15
const longestComment = 255

export interface PortmapOptions {
  network: string
  containerId: string
  mappings: readonly PortMapping[]
  /** The pod's address with its prefix. */
  podAddress: string
  snat: boolean
  markBit: number
  /** What the table has, as iptables-save prints it. */
  saved: readonly string[]
}

const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4)
const isAny = (address: string | undefined): boolean =>
  address === undefined || address === '' || /^(0\.0\.0\.0|::)$/.test(address)

/** All lines of an ADD for one family: the shared chains that are missing, then the pod's own. */
export function portmapRules(options: PortmapOptions): string[] {
  const { network, containerId, podAddress, snat } = options
  const [pod = '', prefix = ''] = podAddress.split('/')
  const family = familyOf(pod)
  const mappings = options.mappings.filter(({ hostIP }) => isAny(hostIP) || familyOf(hostIP ?? '') === family)
  if (mappings.length === 0) return []
  const chain = hostPortChain(network, containerId)
  const lines: string[] = [...sharedRules(options), `:${chain} - [0:0]`]
  const note = `-m comment --comment ${quotedDnat(network, containerId)}`
  for (const protocol of [...new Set(mappings.map((mapping) => mapping.protocol))].toSorted()) {
    const ports = [...new Set(mappings.filter((one) => one.protocol === protocol).map(({ hostPort }) => hostPort))]
    for (let at = 0; at < ports.length; at += portsPerRule) {
      const some = ports.slice(at, at + portsPerRule).join(',')
      lines.push(`-A ${dnat} -p ${protocol} ${note} -m multiport --dports ${some} -j ${chain}`)
    }
  }
  for (const { protocol, hostPort, containerPort, hostIP } of mappings) {
    const to = isAny(hostIP) ? '' : ` -d ${hostIP}`
    const match = `-p ${protocol} -m ${protocol} --dport ${hostPort}${to}`
    if (snat) {
      lines.push(`-A ${chain} -s ${networkOf(pod, Number(prefix))} ${match} -j ${setMark}`)
      if (family === 4) lines.push(`-A ${chain} -s 127.0.0.1/32 ${match} -j ${setMark}`)
    }
    const target = family === 4 ? `${pod}:${containerPort}` : `[${pod}]:${containerPort}`
    lines.push(`-A ${chain} ${match} -j DNAT --to-destination ${target}`)
  }
  return lines
}

function quotedDnat(network: string, containerId: string): string {
  const words = `dnat ${comment(network, containerId).slice(1, -1)}`
  return `"${words.slice(0, longestComment)}"`
}

/** The chains that all pods share: made once, then left as they are. */
function sharedRules({ markBit, saved }: PortmapOptions): string[] {
  if (sharedChains.every((chain) => saved.some((line) => line.startsWith(`:${chain} `)))) return []
  const mark = `0x${(2 ** markBit).toString(16)}`
  return [
    ...sharedChains.map((chain) => `:${chain} - [0:0]`),
    `-A ${setMark} -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark ${mark}/${mark}`,
    `-A ${masq} -m mark --mark ${mark}/${mark} -j MASQUERADE`,
    `-I POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j ${masq}`,
    `-A PREROUTING -m addrtype --dst-type LOCAL -j ${dnat}`,
    `-A OUTPUT -m addrtype --dst-type LOCAL -j ${dnat}`,
  ]
}

/** iptables takes an address with host bits and masks it itself. */
const networkOf = (address: string, prefix: number): string => `${address}/${prefix}`
