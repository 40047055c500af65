// A rule of nftables, read: every expression and statement that the compiler writes, and no other.
import { cidrContains, parseAddress, parseCidr, type Address } from '../net/address.ts'
import { translate, type InFlight } from './packet.ts'
import type { Surroundings } from './path.ts'
import { evenly } from './ways.ts'

/** What a rule says to do with a packet. */
export type Verdict = { kind: 'drop' | 'reject' | 'accept' } | { kind: 'goto' | 'jump'; chain: string }

/** What rules ask besides the packet. */
export interface RuleSurroundings extends Surroundings {
  /** Whether a named set holds the key. */
  holds: (set: string, key: string, packet: InFlight) => boolean
  /** The verdict that a named map holds for the key; it notes the element. */
  lookUp: (map: string, key: string) => Verdict | undefined
}

/** One part of a rule: true goes on, false ends the rule. */
export type Step = (packet: InFlight, surroundings: RuleSurroundings) => boolean | Verdict

const unknown = (text: string): Error => new Error(`nftables rule: the tracer knows no ${text}`)
const always: Step = () => true

/** A rule's words; braces and commas are words of their own. */
class Words {
  readonly #words: readonly string[]
  readonly #rule: string
  #at = 0

  constructor(rule: string) {
    this.#rule = rule
    this.#words = rule.match(/"[^"]*"|[{},]|[^\s{},"]+/g) ?? []
  }

  get isDone(): boolean {
    return this.#at >= this.#words.length
  }

  next(): string {
    const word = this.#words[this.#at++]
    if (word === undefined) throw unknown(`rule that ends so: ${this.#rule}`)
    return word
  }

  /** Passes over these words if they come next. */
  skip(...words: readonly string[]): boolean {
    const isNext = words.every((word, offset) => this.#words[this.#at + offset] === word)
    if (isNext) this.#at += words.length
    return isNext
  }

  expect(...words: readonly string[]): void {
    if (!this.skip(...words)) throw this.unknownHere()
  }

  /** The members of `{ … , … }`, the words of each with one blank between. */
  list(): string[] {
    this.expect('{')
    const members: string[][] = [[]]
    for (let word = this.next(); word !== '}'; word = this.next()) {
      if (word === ',') members.push([])
      else members.at(-1)?.push(word)
    }
    return members.map((words) => words.join(' '))
  }

  unknownHere(): Error {
    return unknown(`${JSON.stringify(this.#words.slice(this.#at).join(' '))} in ${this.#rule}`)
  }
}

interface Field {
  /** As it stands in the keys of sets and maps. */
  text: (packet: InFlight, surroundings: Surroundings) => string
  matcher: (value: string) => (text: string, packet: InFlight) => boolean
}

const unquoted = (text: string): string => text.replace(/^"(.*)"$/, '$1')

const among =
  (...known: readonly string[]): Field['matcher'] =>
  (value) => {
    if (!known.includes(value)) throw unknown(`value ${value}`)
    return (text) => text === value
  }

function addressField(side: 'source' | 'destination'): Field {
  return {
    text: (packet) => packet[side].text,
    matcher: (value) => {
      const host = parseAddress(value)
      const range = parseCidr(value)
      if (!host && !range) throw unknown(`address ${value}`)
      return (text, packet) => (range ? cidrContains(range, packet[side]) : text === host?.text)
    },
  }
}

const localField = (address: (packet: InFlight) => Address): Field => ({
  text: (packet, { isLocal }) => (isLocal(address(packet)) ? 'local' : 'other'),
  matcher: among('local'),
})

const interfaceField: Field = {
  text: ({ inputInterface }) => inputInterface,
  matcher: (value) => {
    const name = unquoted(value)
    return name.endsWith('*') ? (text) => text.startsWith(name.slice(0, -1)) : (text) => text === name
  },
}

function number(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value)) throw unknown(`number ${text}`)
  return value
}

const portField: Field = {
  text: ({ destinationPort }) => String(destinationPort),
  matcher: (value) => {
    const port = String(number(value))
    return (text) => text === port
  },
}

const fields: readonly (readonly [words: readonly string[], field: Field])[] = [
  [['ip', 'saddr'], addressField('source')],
  [['ip', 'daddr'], addressField('destination')],
  [['meta', 'l4proto'], { text: ({ protocol }) => protocol, matcher: among('tcp', 'udp', 'sctp') }],
  [['th', 'dport'], portField],
  [['iifname'], interfaceField],
  [['fib', 'saddr', 'type'], localField(({ source }) => source)],
  [['fib', 'daddr', 'type'], localField(({ destination }) => destination)],
  [['ct', 'state'], { text: ({ state }) => state, matcher: among('new') }],
  [['ct', 'status'], { text: ({ isTranslated }) => (isTranslated ? 'dnat' : ''), matcher: among('dnat') }],
]

function readField(words: Words, ip: string): Field {
  const found = fields.find(([name]) => words.skip(...name.map((word) => (word === 'ip' ? ip : word))))
  if (!found) throw words.unknownHere()
  return found[1]
}

/** Fields joined by dots, and what they are compared with. */
function readComparison(words: Words, ip: string): Step {
  const key = [readField(words, ip)]
  while (words.skip('.')) key.push(readField(words, ip))
  const textOf = (packet: InFlight, surroundings: Surroundings): string =>
    key.map((field) => field.text(packet, surroundings)).join(' . ')
  if (words.skip('vmap')) {
    const map = readName(words)
    return (packet, surroundings) => surroundings.lookUp(map, textOf(packet, surroundings)) ?? false
  }
  const isNot = words.skip('!=')
  const value = words.skip('{') ? undefined : words.next()
  if (value?.startsWith('@'))
    return (packet, surroundings) => surroundings.holds(value.slice(1), textOf(packet, surroundings), packet) !== isNot
  const [field, ...others] = key
  if (!field || others.length > 0) throw words.unknownHere()
  const matchers = (value === undefined ? readMembers(words) : [value]).map(field.matcher)
  return (packet, surroundings) => {
    const text = field.text(packet, surroundings)
    return matchers.some((matches) => matches(text, packet)) !== isNot
  }
}

/** The rest of a list whose brace is read. */
function readMembers(words: Words): string[] {
  const members = [words.next()]
  while (words.skip(',')) members.push(words.next())
  words.expect('}')
  return members
}

function readName(words: Words): string {
  const name = words.next()
  if (!name.startsWith('@')) throw unknown(`map ${name}`)
  return name.slice(1)
}

/** What the numbers from 0 on lead to. */
function readNumbered(words: Words, count: number): string[] {
  const members = words.list().map((member, index) => {
    const [, key, value] = /^(\d+) : (.+)$/.exec(member) ?? []
    if (Number(key) !== index || value === undefined) throw unknown(`map member ${member}`)
    return value
  })
  if (members.length !== count) throw unknown(`choice of ${count} among ${members.length}`)
  return members
}

function readRandom(words: Words): Step {
  words.expect('random', 'mod')
  const count = number(words.next())
  if (words.skip('0')) return (_, { choose }) => choose([1 / count, 1 - 1 / count]) === 0
  words.expect('vmap')
  const verdicts = readNumbered(words, count).map(readVerdict)
  return (_, { choose }) => verdicts[choose(evenly(count))] ?? false
}

function readTranslation(words: Words, ip: string): Step {
  const to = (text: string, packet: InFlight): Verdict => {
    translate(packet, text)
    return { kind: 'accept' }
  }
  if (words.skip('to')) {
    const text = words.next()
    return (packet) => to(text, packet)
  }
  words.expect(ip, 'addr', '.', 'port', 'to', 'numgen', 'random', 'mod')
  const count = number(words.next())
  words.expect('map')
  const targets = readNumbered(words, count).map((text) => {
    const [, address, port] = /^(\S+) \. (\d+)$/.exec(text) ?? []
    return address?.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  })
  return (packet, { choose }) => to(targets[choose(evenly(count))] ?? '', packet)
}

function readMark(words: Words): Step {
  if (words.skip('and')) {
    const mask = number(words.next())
    words.expect('!=', '0')
    return ({ mark }) => (mark & mask) !== 0
  }
  words.expect('set', 'mark')
  const isOr = words.skip('or')
  if (!isOr) words.expect('xor')
  const bits = number(words.next())
  return (packet) => {
    packet.mark = (isOr ? packet.mark | bits : packet.mark ^ bits) >>> 0
    return true
  }
}

function readStep(words: Words, ip: string): Step {
  if (words.skip('comment')) return (words.next(), always)
  if (words.skip('mark')) return readMark(words)
  if (words.skip('numgen')) return readRandom(words)
  if (words.skip('dnat')) return readTranslation(words, ip)
  if (words.skip('masquerade', 'fully-random'))
    return (packet) => {
      packet.isMasqueraded = true
      return { kind: 'accept' }
    }
  if (words.skip('update')) {
    // It remembers the source for later packets.
    readName(words)
    words.expect('{', ip, 'saddr', '}')
    return always
  }
  for (const kind of ['goto', 'jump'] as const)
    if (words.skip(kind)) {
      const chain = words.next()
      return () => ({ kind, chain })
    }
  for (const kind of ['drop', 'reject'] as const) if (words.skip(kind)) return () => ({ kind })
  return readComparison(words, ip)
}

/**
 * Reads a rule of a table of the family that nft calls `ip`.
 *
 * @throws Error for an expression or statement that the tracer does not know: none is passed over
 */
export function parseNftablesRule(rule: string, ip: 'ip' | 'ip6'): Step[] {
  const words = new Words(rule)
  const steps: Step[] = []
  while (!words.isDone) steps.push(readStep(words, ip))
  return steps
}

/** Reads the verdict of a map's element. */
export function readVerdict(text: string): Verdict {
  if (text === 'drop') return { kind: 'drop' }
  const [, chain] = /^goto (\S+)$/.exec(text) ?? []
  if (chain === undefined) throw unknown(`verdict ${text}`)
  return { kind: 'goto', chain }
}
