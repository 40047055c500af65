// Tries rows in one mode: those with the same setting are loaded together, and all packets of a step are sent at once.
import { setTimeout as sleep } from 'node:timers/promises'
import { openNetlink } from '@nodelet/linux'
import type { Flow } from '@nodelet/linux'
import type { IPFamily, NodeFacts, Outcome, Packet, Protocol, ServiceGraph } from '@nodelet/proxy-rules'
import { createFamilyProxier, type FamilyProxier } from '../../src/family-proxier.ts'
import type { ServiceObjects } from '../../src/graph/service-graph.ts'
import { createHealthServers, type HealthServers } from '../../src/health/service-health.ts'
import { silentLogger } from '../../src/log.ts'
import { createProxyMetrics } from '../../src/metrics/proxy-metrics.ts'
import { parseAddress } from '../../src/net/address.ts'
import { nodePortAddresses } from '../../src/node/node-port-addresses.ts'
import { flowKey, flowsIn, forgetFlows, outcomeOf } from './flows.ts'
import type { Answer, Probe } from './messages.ts'
import type { Mode } from './mode.ts'
import { crowd, families, places, site, vip, type Room } from './places.ts'
import { namespace, protocolsOf, serviceName, serviceOf, slicesOf, stepsOf, targetOf } from './row.ts'
import type { PacketRow, Row, Sender, Setting, Step } from './row.ts'
import { sendSctp } from './sctp.ts'
import type { World } from './world.ts'

/** What became of one packet. */
export interface Seen {
  source: string
  answer: Answer
  /** What connection tracking says; undefined where it cannot tell. */
  kernel: Outcome | undefined
  /** Who answered this sender, or on this socket, in an earlier step. */
  before: string | undefined
}

/** A line of a row. */
export interface Line {
  packet: PacketRow
}

/** All packets that a line means in one family and protocol. */
export interface Tried {
  line: Line
  family: IPFamily
  protocol: Protocol
  seen: Seen[]
  /** What the tracer says that can become of it; undefined where it was not asked. */
  traced: Outcome[] | undefined
}

/** Row → what became of its packets, or why they could not be sent. */
export type Results = Map<Row, Tried[] | Error>

const longMs = 10_000
/** Of packets that nobody is to answer. */
const shortMs = 300
/** How often a line is sent so that one of so many endpoints is missed less than once in 10⁸ times. */
const timesFor = (endpoints: number): number =>
  endpoints < 2 ? 1 : Math.floor(Math.log(1e-8 / endpoints) / Math.log(1 - 1 / endpoints))
/** The same where endpoints take turns: others' connections come between. */
const timesInTurn = (endpoints: number): number => (endpoints > 1 ? 4 * endpoints : 1)

const usual: Omit<NodeFacts, 'interfaces' | 'localhostNodePorts' | 'nodePortAddresses'> = {
  nodeIPs: places.node.address,
  masqueradeAll: false,
  masqueradeBit: 14,
  localTraffic: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16', 'fd44::/16'] },
  randomFully: true,
  nfacct: false,
  conntrackLiberal: false,
}

/** Whether the row holds in the mode of this name. */
export const holdsIn = ({ notIn = {} }: Row, mode: string): boolean =>
  !Object.keys(notIn).some((name) => mode.startsWith(name))

/** Tries all rows that hold in the mode. A setting that cannot be made fails its rows, and no others. */
export async function runRows(world: World, mode: Mode, rows: readonly Row[]): Promise<Results> {
  const results: Results = new Map()
  const numbered = rows.map((row, index) => ({ row, number: index + 1 })).filter(({ row }) => holdsIn(row, mode.name))
  const groups = Map.groupBy(numbered, ({ row }) => JSON.stringify(settingIn(mode, row)))
  const own = familiesOf(mode)
  for (const family of own)
    await world.run(family === 'IPv4' ? 'iptables' : 'ip6tables', ...markRule(places.marked.address[family]))
  const backends = await Promise.all(own.map((family) => mode.open(family, world.netns)))
  const ports = { next: 10_000 }
  for (const [text, group] of groups) {
    try {
      const setting = JSON.parse(text) as WholeSetting
      await runGroup({ world, mode, backends, ports, setting }, group, results)
    } catch (error) {
      for (const { row } of group) results.set(row, error as Error)
    }
  }
  for (const backend of backends) {
    await backend.cleanUp()
    await backend.close?.()
  }
  return results
}

/** A setting of a group, with what rows do not name. */
type WholeSetting = Omit<Setting, 'facts' | 'ownsVIP'> & { facts: Omit<NodeFacts, 'interfaces'> }

/** What rows of one load have in common: what a row names is often what the mode has anyway, or does not look at. */
function settingIn(mode: Mode, { setting = {} }: Row): WholeSetting {
  const { facts, ownsVIP: _, ...rest } = setting
  return { ...mode.always, ...rest, facts: { ...usual, ...mode.facts, ...facts } }
}

const familiesOf = (mode: Mode): readonly IPFamily[] => mode.families ?? families

const markRule = (source: string): string[] => [
  '-t',
  'mangle',
  '-A',
  'PREROUTING',
  '-s',
  source,
  '-j',
  'MARK',
  '--set-mark',
  '0x4000',
]

interface Context {
  world: World
  mode: Mode
  backends: readonly Awaited<ReturnType<Mode['open']>>[]
  ports: { next: number }
  setting: WholeSetting
}

interface Numbered {
  row: Row
  number: number
}

async function runGroup(context: Context, group: readonly Numbered[], results: Results): Promise<void> {
  const { world, mode, backends, setting } = context
  const { facts } = setting
  const metrics = createProxyMetrics(mode.proxyMode, () => [])
  const proxiers = backends.map((backend) =>
    createFamilyProxier({ backend, facts, counts: () => false, netns: world.netns, metrics, log: silentLogger }),
  )
  const health = createHealthServers({
    nodeName: 'node',
    events: { onService: () => {} },
    netns: world.netns,
    isHealthy: () => true,
    answersOn: answersOn(facts),
    log: silentLogger,
  })
  const memory = new Map<string, string>()
  await forgetFlows(world)
  await prepare(world, group, setting, true)
  try {
    const count = Math.max(...group.map(({ row }) => stepsOf(row).length))
    for (let index = 0; index < count; index += 1) {
      await load(proxiers, health, group, index, setting)
      const now = group.flatMap(({ row, number }) => {
        const step = stepsOf(row)[index]
        return step ? [{ row, number, step }] : []
      })
      if (now.some(({ step }) => step.forgets)) await forgetFlows(world)
      await sleep(Math.max(0, ...now.map(({ step }) => step.pauseMs ?? 0)))
      await tryStep({ ...context, proxiers, memory }, now, results)
    }
  } finally {
    await health.close()
    await prepare(world, group, setting, false)
  }
}

/** What a setting asks of the machine: made, or undone. */
async function prepare(
  world: World,
  group: readonly Numbered[],
  { policy, facts, routesLocalnet, isStrict }: WholeSetting,
  isBegin: boolean,
): Promise<void> {
  const { localhost } = nodePortAddresses({ ...facts, interfaces: {} }, 'IPv4')
  world.setSysctl('net/ipv4/conf/all/route_localnet', isBegin && (localhost || routesLocalnet === true) ? 1 : 0)
  // The rule that drops is shared with a kubelet: nobody takes it away who does not need it (7.2).
  if (routesLocalnet && isBegin) await world.run('sh', '-c', 'iptables -F KUBE-FIREWALL || true')
  if (isStrict) world.setSysctl('net/netfilter/nf_conntrack_tcp_loose', isBegin ? 0 : 1)
  if (policy)
    for (const chain of ['INPUT', 'FORWARD']) await world.run('iptables', '-P', chain, isBegin ? policy : 'ACCEPT')
  for (const { number } of group.filter(({ row }) => row.setting?.ownsVIP))
    for (const family of families)
      await world.setAddress(isBegin ? 'add' : 'delete', 'lo', `${vip(number)[family]}/${family === 'IPv4' ? 32 : 128}`)
}

function answersOn(facts: Omit<NodeFacts, 'interfaces'>): (address: string) => boolean {
  return (text) => {
    const address = parseAddress(text)
    if (!address) return false
    const own = { eth: [`${text}/32`] }
    const { all, addresses } = nodePortAddresses({ ...facts, interfaces: own }, address.family)
    return all || addresses.includes(address.text)
  }
}

/** A step's state of a Service: what earlier steps said and it does not change stays. */
function stateAt(row: Row, index: number): Step {
  return Object.assign({}, ...stepsOf(row).slice(0, index + 1)) as Step
}

async function load(
  proxiers: readonly FamilyProxier[],
  health: HealthServers,
  group: readonly Numbered[],
  index: number,
  { zone = 'z1', serviceCIDRs = [], others }: WholeSetting,
): Promise<void> {
  const changes = new Map<string, ServiceObjects>()
  for (const { row, number } of group) {
    const { isThere = true, service = row.service, endpoints = row.endpoints } = stateAt(row, index)
    const key = `${namespace}/${serviceName(number)}/`
    const slices = slicesOf(number, service, endpoints)
    changes.set(key, isThere ? { service: serviceOf(number, service), slices } : { service: undefined, slices: [] })
  }
  if (others) changes.set('others/others/', otherEndpoints(others[index] ?? 0))
  const update = { nodeName: 'here', zone, changes, serviceCIDRs, triggers: [] }
  await Promise.all(proxiers.map((proxier) => proxier.sync(update)))
  health.update(proxiers.flatMap((proxier) => proxier.graph() ?? []))
}

function otherEndpoints(count: number): ServiceObjects {
  const metadata = { namespace: 'others', name: 'others' }
  const slices = families.map((addressType) => ({
    metadata: { ...metadata, labels: { 'kubernetes.io/service-name': 'others' } },
    addressType,
    endpoints: Array.from({ length: count }, (_, n) => {
      const address = addressType === 'IPv4' ? `10.245.${n >> 8}.${n & 255}` : `fd45::${n.toString(16)}`
      return { addresses: [address], conditions: { ready: false } }
    }),
    ports: [{ name: '', port: 1 }],
  }))
  return { service: { metadata, spec: { clusterIP: '10.97.0.1', ports: [{ port: 1 }] } }, slices }
}

interface StepContext extends Context {
  proxiers: readonly FamilyProxier[]
  /** Who answered whom. */
  memory: Map<string, string>
}

interface Current extends Numbered {
  step: Step
}

/** One packet of a line, on its way. */
interface Sent {
  tried: Tried
  probe: Probe & { room: Room }
  memoryKey: string
  /** Its connection was there before this step. */
  isKnown: boolean
  /** Others of its sender wait for its answer. */
  isFirst: boolean
}

async function tryStep(context: StepContext, current: readonly Current[], results: Results): Promise<void> {
  const { world, memory, ports } = context
  const sent = current.flatMap((one) => plan(context, one, results))
  const found = await sendAll(world, sent)
  const again = new Map(
    sent.filter((one) => isDoubtful(one, found.get(one))).map((one) => [one, fromNextPort(one, ports)]),
  )
  const foundThen = await sendAll(world, [...again.values()])
  for (const one of sent) {
    const { tried, probe, memoryKey } = one
    const other = again.get(one)
    const { answer = 'silence', kernel } = (other ? foundThen.get(other) : found.get(one)) ?? {}
    tried.seen.push({ source: probe.from, answer, kernel, before: memory.get(memoryKey) })
  }
  for (const { tried, memoryKey } of sent) {
    if (!tried.line.packet.isSticky && tried.line.packet.flow === undefined) continue
    const answer = tried.seen.find(({ source }) => memoryKey.endsWith(` ${source}`))?.answer
    if (typeof answer === 'object') memory.set(memoryKey, answer.server)
  }
}

/**
 * Whether chance may have had its way: only the port tells that the node masquerades its own packet. A packet that is not masqueraded
 * gets another port where a masqueraded one of before has its own, and one that is can get the port which it has.
 */
function isDoubtful({ tried, probe }: Sent, found: Found | undefined): boolean {
  const { fate, flow } = tried.line.packet
  if (probe.room !== 'node' || flow !== undefined || found?.kernel?.verdict !== 'accept') return false
  const isMasqueraded = typeof fate === 'object' && 'reaches' in fate && fate.source === 'masqueraded'
  return found.kernel.masquerade !== isMasqueraded
}

const fromNextPort = (one: Sent, ports: Context['ports']): Sent => ({
  ...one,
  probe: { ...one.probe, sourcePort: nextPort(ports) },
})

type Found = Pick<Seen, 'answer' | 'kernel'>

async function sendAll(world: World, sent: readonly Sent[]): Promise<Map<Sent, Found>> {
  const found = new Map<Sent, Found>()
  if (sent.length === 0) return found
  const answers = new Map<Sent, Answer>()
  const send = async (some: readonly Sent[]): Promise<void> => {
    const got = await world.probe(some.map(({ probe }) => probe))
    for (const [index, one] of some.entries()) answers.set(one, got[index] ?? 'silence')
  }
  const overSctp = sent.filter(({ tried }) => tried.protocol === 'SCTP')
  const others = sent.filter(({ tried }) => tried.protocol !== 'SCTP')
  await send(others.filter(({ isFirst }) => isFirst))
  const [bySctp] = await Promise.all([sctp(world, overSctp), send(others.filter(({ isFirst }) => !isFirst))])
  const flows = new Map([...(await flowsIn(world)), ...bySctp.flows])
  const isOwn = await ownAddresses(world)
  for (const one of sent) {
    const { tried, probe, isKnown } = one
    const flow = flows.get(flowKey(tried.protocol, probe.from, probe.sourcePort, probe.to))
    const isRefused = bySctp.refused.has(probe.sourcePort)
    const answer = answers.get(one) ?? (isRefused ? 'refused' : 'silence')
    const kernel =
      isKnown || cannotTell(tried, flow)
        ? undefined
        : outcomeOf(tried.protocol, answer, flow, isOwn(probe.from) ? isOwn : undefined)
    found.set(one, { answer, kernel })
  }
  return found
}

/** A reset of the node's own, which may come late, ends the tracking of TCP. A line's packets over UDP tell. */
const cannotTell = ({ line, protocol }: Tried, flow: Flow | undefined): boolean =>
  line.packet.fate === 'untouched' && protocol === 'TCP' && !flow

function plan(context: StepContext, { row, number, step }: Current, results: Results): Sent[] {
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
function nextPort(ports: { next: number }): number {
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

/** From which ports packets were refused, and what is tracked: other packets may take longer than IPVS knows of these. */
async function sctp(world: World, sent: readonly Sent[]): Promise<{ refused: Set<number>; flows: Map<string, Flow> }> {
  if (sent.length === 0) return { refused: new Set(), flows: new Map() }
  using node = openNetlink({ netns: world.netns })
  const uplink = await node.links.get('uplink')
  const awaited = new Set(
    sent.filter(({ tried }) => tried.line.packet.fate === 'refused').map(({ probe }) => probe.sourcePort),
  )
  const where = {
    netns: world.netnsOf('outside'),
    link: 'lan',
    router: uplink?.mac ?? '',
    patienceMs: shortMs,
    awaited,
  }
  const refused = await sendSctp(
    sent.map(({ probe }) => probe),
    where,
  )
  return { refused, flows: await flowsIn(world) }
}

/** Those of links that are down, too: there IPVS mode has the addresses of Services. */
async function ownAddresses({ netns }: World): Promise<(address: string) => boolean> {
  using node = openNetlink({ netns })
  const found = await node.addresses.list()
  const own = new Set(found.map(({ address }) => parseAddress(address.split('/')[0])?.text))
  return (address) => own.has(parseAddress(address)?.text)
}
