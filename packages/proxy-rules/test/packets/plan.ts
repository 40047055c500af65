// The packets that the lines of a step mean, and what the tracer says of them.
import type { IPFamily, NodeFacts, Outcome, Packet, ServiceGraph } from '@nodelet/proxy-rules'
import type { FamilyProxier } from '../../src/family-proxier.ts'
import type { Mode } from './mode.ts'
import { crowd, families, site, vip, type Room } from './places.ts'
import { protocolsOf, targetOf, type Row, type Sender, type Setting, type Step } from './row.ts'
import type { Results, Sent, Tried } from './tried.ts'
import type { World } from './world.ts'

const longMs = 10_000
/** Of packets that nobody is to answer. */
export const shortMs = 300
/** How often a line is sent so that one of so many endpoints is missed less than once in 10⁸ times. */
const timesFor = (endpoints: number): number =>
  endpoints < 2 ? 1 : Math.floor(Math.log(1e-8 / endpoints) / Math.log(1 - 1 / endpoints))
/** The same where endpoints take turns: others' connections come between. */
const timesInTurn = (endpoints: number): number => (endpoints > 1 ? 4 * endpoints : 1)

export const familiesOf = (mode: Mode): readonly IPFamily[] => mode.families ?? families

/** A setting of a group, with what rows do not name. */
export type WholeSetting = Omit<Setting, 'facts' | 'ownsVIP'> & { facts: Omit<NodeFacts, 'interfaces'> }

export interface Context {
  world: World
  mode: Mode
  backends: readonly Awaited<ReturnType<Mode['open']>>[]
  ports: { next: number }
  setting: WholeSetting
}

export interface StepContext extends Context {
  proxiers: readonly FamilyProxier[]
  /** Who answered whom. */
  memory: Map<string, string>
}

export interface Numbered {
  row: Row
  number: number
}

export interface Current extends Numbered {
  step: Step
}

export function plan(context: StepContext, { row, number, step }: Current, results: Results): Sent[] {
  const all = results.get(row) ?? []
  if (all instanceof Error) return []
  results.set(row, all)
  return step.packets
    .filter(({ mode = '' }) => [mode].flat().some((name) => context.mode.name.startsWith(name)))
    .flatMap((packet) => {
      const protocols = packet.protocol ? [packet.protocol] : protocolsOf(step.service ?? row.service)
      const of = packet.family ? [packet.family] : families
      const own = of.filter((family) => familiesOf(context.mode).includes(family))
      const kinds = own.flatMap((family) => protocols.map((protocol) => ({ family, protocol })))
      const line = { packet }
      return kinds.flatMap((kind) => {
        const tried: Tried = { line, ...kind, seen: [], traced: undefined }
        all.push(tried)
        tried.traced = traced(context, number, tried)
        return probesOf(context, number, tried, kinds.length)
      })
    })
}

function probesOf({ mode, ports, memory }: StepContext, number: number, tried: Tried, kinds: number): Sent[] {
  const { line, family, protocol } = tried
  const { packet } = line
  const { from, to, fate, isSticky = false, flow } = packet
  const target = targetOf(number, to, family)
  // Nobody tells the sender of a packet that the router has taken.
  const isLost = typeof fate === 'object' && 'reaches' in fate && fate.isLost === true
  const isAnswered = fate !== 'dropped' && fate !== 'untouched' && !isLost
  const endpoints = typeof fate === 'object' && 'reaches' in fate ? fate.reaches.length : 1
  const senders = sendersOf(number, from, family)
  const enough = (mode.takesTurns ? timesInTurn : timesFor)(endpoints)
  const times =
    packet.evenly ??
    (packet.sample === undefined ? undefined : Math.ceil(packet.sample / kinds)) ??
    (flow !== undefined ? 1 : senders.length > 1 ? (isSticky === true ? 2 : 1) : Math.ceil(enough / kinds))
  return senders.flatMap(({ room, address }) =>
    Array.from({ length: times }, (_, index): Sent => {
      const memoryKey = [number, flow, family, packet.comparedTo ?? protocol, address].join(' ')
      const keep = flow === undefined ? undefined : memoryKey
      const portKey = `port of ${memoryKey}`
      const known = keep === undefined ? undefined : memory.get(portKey)
      const sourcePort = known === undefined ? nextPort(ports) : Number(known)
      if (keep !== undefined) memory.set(portKey, String(sourcePort))
      const probe: Sent['probe'] = {
        room,
        kind: typeof fate === 'object' && 'status' in fate ? 'http' : protocol === 'UDP' ? 'udp' : 'tcp',
        isIPv6: family === 'IPv6',
        from: address,
        sourcePort,
        to: target.address,
        port: target.port,
        patienceMs: isAnswered ? longMs : shortMs,
        ...(keep !== undefined && { keep }),
      }
      return { tried, probe, memoryKey, isKnown: known !== undefined, isFirst: isSticky === true && index === 0 }
    }),
  )
}

/** Neither a node port nor one that the kernel gives away. */
export function nextPort(ports: { next: number }): number {
  if (ports.next >= 30_000 && ports.next < 33_000) ports.next = 33_000
  if (ports.next > 65_000) throw new Error('the packets of all rows need more ports than there are')
  return ports.next++
}

interface From {
  room: Room
  address: string
}

function sendersOf(number: number, from: Sender, family: IPFamily): From[] {
  if (from === 'crowd') return crowd.map((address) => ({ room: 'outside', address: address[family] }))
  if (from === 'VIP of the node') return [{ room: 'node', address: vip(number)[family] }]
  if (from === 'loopback of the node') return [{ room: 'node', address: family === 'IPv4' ? '127.0.0.1' : '::1' }]
  const { room, address } = site(from)
  return [{ room, address: address[family] }]
}

function inputInterfaceOf(from: Sender): string | undefined {
  if (from === 'crowd') return 'uplink'
  return from === 'VIP of the node' || from === 'loopback of the node' ? undefined : site(from).inputInterface
}

function traced({ mode, proxiers, setting }: StepContext, number: number, tried: Tried): Outcome[] | undefined {
  const { line, family, protocol } = tried
  const { packet } = line
  // Policies of chains are others' rules.
  if (setting.policy) return undefined
  const proxier = proxiers[familiesOf(mode).indexOf(family)]
  const graph = proxier?.graph()
  if (!proxier || !graph) return undefined
  const ask = tracerOf(mode, graph, proxier)
  const [sender] = sendersOf(number, packet.from, family)
  const { address, port } = targetOf(number, packet.to, family)
  const inputInterface = inputInterfaceOf(packet.from)
  return ask?.({
    protocol,
    source: sender?.address ?? '',
    destination: address,
    destinationPort: port,
    ...(inputInterface !== undefined && { inputInterface }),
    ...(packet.from === 'marked' && { mark: 0x4000 }),
    ...(packet.state && { state: packet.state }),
  }).map(({ verdict, translation, masquerade }) => ({ verdict, translation, masquerade }))
}

const tracers = new WeakMap<ServiceGraph, Map<Mode, ((packet: Packet) => Outcome[]) | undefined>>()

/** Of one graph one program is compiled. */
function tracerOf(mode: Mode, graph: ServiceGraph, proxier: FamilyProxier): ReturnType<Mode['tracer']> {
  const known = tracers.get(graph) ?? new Map<Mode, ReturnType<Mode['tracer']>>()
  tracers.set(graph, known)
  if (!known.has(mode)) known.set(mode, mode.tracer(graph, proxier.facts()))
  return known.get(mode) as ReturnType<Mode['tracer']>
}
