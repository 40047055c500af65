// Runs packets through an IPVS program.
import { ipvsJumps } from '../apply/jumps.ts'
import { createIpvsLedger } from '../ipvs/ledger.ts'
import { virtualServerFlags, type IpvsProgram, type RealServer, type VirtualServer } from '../ipvs/program.ts'
import { cidrContains, isLoopback, parseCidr, type Cidr } from '../net/address.ts'
import { loadTables, runTable, tablesAt } from './iptables-machine.ts'
import type { Dimension } from './iptables-rule.ts'
import { translate, type InFlight } from './packet.ts'
import type { HookName, Machine, Refusal, Surroundings } from './path.ts'
import { evenly } from './ways.ts'

/** An IP set with its entries. */
interface LoadedSet {
  /** The parts of its type: of what the dimensions are. */
  kinds: readonly string[]
  /** Without the network of those that have one. */
  entries: Map<string, Cidr[]>
}

/** Nothing remains of this where it has no meaning. */
const join = (parts: readonly (string | number | undefined)[]): string => parts.filter(Boolean).join(' ')
const serverKey = (protocol: string, address: string, port: number): string => join([protocol, address, port])

/** The program in an empty kernel. */
function load(program: IpvsProgram): {
  servers: Map<string, VirtualServer>
  addresses: Set<string>
  sets: Map<string, LoadedSet>
} {
  const { virtualServers, addresses, entries } = createIpvsLedger().update(program)
  const servers = virtualServers.flatMap(({ after }) => (after ? [after] : []))
  const sets = new Map(
    program.sets.map(({ name, type }) => {
      const set: LoadedSet = { kinds: type.replace(/^.*:/, '').split(','), entries: new Map() }
      return [name, set] as const
    }),
  )
  for (const { set, address, protocol, port, source, sourceRange } of entries.added) {
    const loaded = sets.get(set)
    if (!loaded) throw new RangeError(`IPVS program: it has no IP set ${set}`)
    const key = join([address, protocol?.toLowerCase(), port, source])
    const range = parseCidr(sourceRange)
    loaded.entries.set(key, [...(loaded.entries.get(key) ?? []), ...(range ? [range] : [])])
  }
  return {
    servers: new Map(servers.map((one) => [serverKey(one.protocol.toLowerCase(), one.address, one.port), one])),
    addresses: new Set(addresses.added),
    sets,
  }
}

/** Whether a set has what a packet says. */
function holds({ kinds, entries }: LoadedSet, dimensions: readonly Dimension[], packet: InFlight): boolean {
  const { protocol, source, destination, destinationPort } = packet
  const isSource = (index: number): boolean => dimensions[index] === 'src'
  const key = kinds.map((kind, index) => {
    if (kind === 'net') return undefined
    if (kind === 'ip') return (isSource(index) ? source : destination).text
    if (isSource(index)) throw new Error('iptables rule: the tracer knows no source ports')
    // Bitmaps hold the ports of all protocols.
    return kinds.length === 1 ? destinationPort : `${protocol} ${destinationPort}`
  })
  const ranges = entries.get(join(key))
  const net = kinds.indexOf('net')
  if (!ranges || net < 0) return ranges !== undefined
  const address = isSource(net) ? source : destination
  return ranges.some((range) => cidrContains(range, address))
}

export function ipvsMachine(program: IpvsProgram): Machine {
  const { servers, addresses, sets } = load(program)
  const tables = loadTables(program.glue, ipvsJumps)
  const inSet = (name: string, dimensions: readonly Dimension[], packet: InFlight): boolean => {
    const set = sets.get(name)
    if (!set) throw new RangeError(`IPVS program: it has no IP set ${name}`)
    return holds(set, dimensions, packet)
  }
  const balance = (hook: HookName, packet: InFlight, surroundings: Surroundings): Refusal | undefined => {
    const { protocol, destination, destinationPort } = packet
    // Later packets go where the first one went; what fits no connection begins none.
    const isTaken = packet.state !== 'new' || packet.virtualServer !== undefined
    const server = isTaken ? undefined : servers.get(serverKey(protocol, destination.text, destinationPort))
    return server && schedule(server, hook, packet, surroundings)
  }
  /** What a hook asks, in its order: IPVS comes before the filter where the node sends, after it where packets come in. */
  const stagesAt = (hook: HookName): readonly ('nat' | 'filter' | 'ipvs')[] => {
    if (hook === 'output') return ['nat', 'ipvs', 'filter']
    return hook === 'input' ? ['filter', 'ipvs'] : tablesAt[hook]
  }
  return {
    family: program.family,
    adds: ({ text }) => addresses.has(text),
    run: (hook, packet, surroundings) => {
      for (const stage of stagesAt(hook)) {
        const around = { ...surroundings, holds: inSet, remembers: () => false }
        const refused =
          stage === 'ipvs' ? balance(hook, packet, surroundings) : runTable(tables.get(stage), hook, packet, around)
        if (refused) return refused
      }
      return undefined
    },
  }
}

const host = ({ address, port }: Pick<RealServer, 'address' | 'port'>): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port}`

/** Gives the packet to a real server, to any with the same chance whatever the scheduler: that depends on earlier packets. */
function schedule(
  server: VirtualServer,
  hook: HookName,
  packet: InFlight,
  { choose, isLocal }: Surroundings,
): Refusal | undefined {
  const { protocol, scheduler, flags, realServers } = server
  const passed = { table: 'ipvs', chain: hook.toUpperCase(), rule: `${protocol} ${host(server)} ${scheduler}` }
  if (realServers.length === 0) {
    packet.passed.push(passed)
    return 'reject'
  }
  const isPersistent = (flags & virtualServerFlags.persistent) !== 0
  const kept = isPersistent ? realServers.find((one) => host(one) === packet.remembered) : undefined
  const chosen = kept ?? realServers[choose(evenly(realServers.length))]
  const text = chosen ? host(chosen) : ''
  packet.passed.push({ ...passed, element: text })
  translate(packet, text)
  packet.virtualServer = server
  // The kernel lets nothing out that comes from a loopback address.
  return isLoopback(packet.source) && !isLocal(packet.destination) ? 'drop' : undefined
}
