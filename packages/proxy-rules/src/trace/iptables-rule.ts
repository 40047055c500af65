// A rule of iptables, read: every match and target that the compilers write, and no other.
import { cidrContains, parseAddress, parseCidr, type Address } from '../net/address.ts'
import type { VirtualServer } from '../ipvs/program.ts'
import { translate, type InFlight } from './packet.ts'
import type { Surroundings } from './path.ts'

/** What matches ask besides the packet. */
export interface RuleSurroundings extends Surroundings {
  /** Whether a list of recent clients has the packet's source. */
  remembers: (list: string, packet: InFlight) => boolean
  /** Whether an IP set has what stands in the packet for its dimensions. */
  holds: (set: string, dimensions: readonly Dimension[], packet: InFlight) => boolean
}

/** Where a dimension of an IP set is read: of the source, or of the destination. */
export type Dimension = 'src' | 'dst'

export type Match = (packet: InFlight, surroundings: RuleSurroundings) => boolean

/** What a rule does with what it matches: an effect, after which the chain goes on, or one of the others. */
export type Target =
  | { kind: 'effect' | 'translation'; apply: (packet: InFlight) => void }
  | { kind: 'accept' | 'return' | 'drop' | 'reject' | 'none' }
  | { kind: 'chain'; chain: string }

export interface ParsedRule {
  matches: readonly Match[]
  target: Target
}

interface Option {
  /** Which `-m` it belongs to. */
  module?: readonly string[]
  /** How many; flags have none. */
  values: 0 | 1 | 2
  canBeNegated?: boolean
  match: (value: string, soFar: { list: string }, second: string) => Match
}

const always: Match = () => true
const transports = ['tcp', 'udp', 'sctp']
const matching = ['comment', 'conntrack', 'addrtype', 'mark', 'statistic', 'recent', 'nfacct', 'set', 'physdev', 'ipvs']
const modules = [...transports, ...matching]

const unknown = (what: string, text: string): Error => new Error(`iptables rule: the tracer knows no ${what} ${text}`)

const oneOf = (what: string, value: string, known: readonly string[]): string => {
  if (!known.includes(value)) throw unknown(what, value)
  return value
}

function within(text: string): (address: Address) => boolean {
  const host = parseAddress(text)
  if (host) return (address) => address.text === host.text
  const range = parseCidr(text)
  if (!range) throw unknown('address', text)
  return (address) => cidrContains(range, address)
}

function numberOf(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) throw unknown('number', text)
  return value
}

function connectionStates(text: string): Match {
  const states = text.split(',').map((one) => oneOf('state', one, ['NEW', 'ESTABLISHED', 'RELATED', 'INVALID', 'DNAT']))
  // DNAT is a state of its own: a connection has it besides the others.
  return ({ state, isTranslated }) => states.includes(state.toUpperCase()) || (isTranslated && states.includes('DNAT'))
}

function marked(text: string): Match {
  const [value = 0, mask = 0xffffffff] = text.split('/').map(numberOf)
  return ({ mark }) => (mark & mask) >>> 0 === value
}

function onInterface(text: string): Match {
  if (text.endsWith('+')) return ({ inputInterface }) => inputInterface.startsWith(text.slice(0, -1))
  return ({ inputInterface }) => inputInterface === text
}

const ofLocal = (value: string, side: 'source' | 'destination'): Match => {
  oneOf('address type', value, ['LOCAL'])
  return (packet, { isLocal }) => isLocal(packet[side])
}

function inSet(set: string, text: string): Match {
  const dimensions = text.split(',').map((one) => oneOf('dimension', one, ['src', 'dst']) as Dimension)
  return (packet, { holds }) => holds(set, dimensions, packet)
}

const ofVirtualServer = { module: ['ipvs'], values: 1 } as const
const servedBy =
  (isIt: (server: VirtualServer) => boolean): Match =>
  ({ virtualServer }) =>
    virtualServer !== undefined && isIt(virtualServer)

const counted = { module: ['nfacct'], values: 1, match: () => always } as const
const recent = { module: ['recent'], values: 0, match: () => always } as const

const options: Readonly<Record<string, Option>> = {
  '-p': {
    values: 1,
    match: (value) => {
      const protocol = oneOf('protocol', value, transports)
      return (packet) => packet.protocol === protocol
    },
  },
  '-s': {
    values: 1,
    canBeNegated: true,
    match: (value) => {
      const contains = within(value)
      return ({ source }) => contains(source)
    },
  },
  '-d': {
    values: 1,
    canBeNegated: true,
    match: (value) => {
      const contains = within(value)
      return ({ destination }) => contains(destination)
    },
  },
  '-i': { values: 1, canBeNegated: true, match: onInterface },
  '--dport': {
    module: transports,
    values: 1,
    match: (value) => {
      const port = numberOf(value)
      return ({ destinationPort }) => destinationPort === port
    },
  },
  '--comment': { module: ['comment'], values: 1, match: () => always },
  '--ctstate': { module: ['conntrack'], values: 1, canBeNegated: true, match: connectionStates },
  '--src-type': { module: ['addrtype'], values: 1, canBeNegated: true, match: (value) => ofLocal(value, 'source') },
  '--dst-type': { module: ['addrtype'], values: 1, match: (value) => ofLocal(value, 'destination') },
  '--mark': { module: ['mark'], values: 1, canBeNegated: true, match: marked },
  '--mode': {
    module: ['statistic'],
    values: 1,
    match: (value) => (oneOf('mode', value, ['random']), always),
  },
  '--probability': {
    module: ['statistic'],
    values: 1,
    match: (value) => {
      const chance = numberOf(value)
      return (_, { choose }) => choose([chance, 1 - chance]) === 0
    },
  },
  '--name': {
    ...recent,
    values: 1,
    match: (value, soFar) => {
      soFar.list = value
      return always
    },
  },
  '--rcheck': {
    ...recent,
    match: (_, { list }) => {
      return (packet, { remembers }) => remembers(list, packet)
    },
  },
  '--seconds': { ...recent, values: 1 },
  '--reap': recent,
  '--set': recent,
  '--nfacct-name': counted,
  '--match-set': { module: ['set'], values: 2, match: (set, _, dimensions) => inSet(set, dimensions) },
  // What is traced is routed: it does not come in by a port of a bridge.
  '--physdev-is-in': { module: ['physdev'], values: 0, canBeNegated: true, match: () => () => false },
  '--vaddr': { ...ofVirtualServer, match: (value) => servedBy(({ address }) => address === value) },
  '--vproto': { ...ofVirtualServer, match: (value) => servedBy(({ protocol }) => protocol.toLowerCase() === value) },
  '--vport': { ...ofVirtualServer, match: (value) => servedBy(({ port }) => port === numberOf(value)) },
}

const userChain = /^KUBE-[\w-]+$/

function parseTarget(name: string | undefined, rest: readonly string[]): Target {
  if (name === undefined) throw unknown('target', 'of no name')
  const [option, value = ''] = rest
  const written = [name, ...rest].join(' ')
  if (name === 'MARK' && rest.length === 2) {
    const bits = numberOf(value)
    if (option === '--or-mark') return { kind: 'effect', apply: (to) => (to.mark = (to.mark | bits) >>> 0) }
    if (option === '--xor-mark') return { kind: 'effect', apply: (to) => (to.mark = (to.mark ^ bits) >>> 0) }
  }
  if (name === 'DNAT' && rest.length === 2 && option === '--to-destination')
    return { kind: 'translation', apply: (packet) => translate(packet, value) }
  if (name === 'MASQUERADE' && ['', '--random-fully'].includes(rest.join(' ')))
    return { kind: 'translation', apply: (packet) => (packet.isMasqueraded = true) }
  if (rest.length > 0) throw unknown('target', written)
  if (userChain.test(name)) return { kind: 'chain', chain: name }
  const kind = ({ ACCEPT: 'accept', RETURN: 'return', DROP: 'drop', REJECT: 'reject' } as const)[name]
  if (!kind) throw unknown('target', written)
  return { kind }
}

/**
 * Reads the arguments of a rule.
 *
 * @throws Error for a match or target that the tracer does not know: none is passed over
 */
export function parseIptablesRule(args: readonly string[]): ParsedRule {
  const jump = args.indexOf('-j')
  const end = jump < 0 ? args.length : jump
  const loaded = new Set<string>()
  const soFar = { list: '' }
  const matches: Match[] = []
  for (let at = 0; at < end; at += 1) {
    const isNot = args[at] === '!'
    if (isNot) at += 1
    const name = args[at] ?? ''
    const [value = '', second = ''] = args.slice(at + 1, at + 3)
    if (name === '-m' && !isNot) {
      loaded.add(oneOf('match', value, modules))
      at += 1
      continue
    }
    const option = Object.hasOwn(options, name) ? options[name] : undefined
    if (!option || (isNot && !option.canBeNegated)) throw unknown('option', `${isNot ? '! ' : ''}${name}`)
    if (option.module && !option.module.some((module) => loaded.has(module))) throw unknown('option', `${name} here`)
    if ((at += option.values) >= end) throw unknown('option', `${name} without a value`)
    const match = option.match(value, soFar, second)
    matches.push(isNot ? (packet, surroundings) => !match(packet, surroundings) : match)
  }
  return { matches, target: jump < 0 ? { kind: 'none' } : parseTarget(args[jump + 1], args.slice(jump + 2)) }
}
