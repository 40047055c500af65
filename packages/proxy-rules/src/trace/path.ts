// The way of a packet through the kernel's hooks.
import { isLoopback, parseAddress, type Address, type IPFamily } from '../net/address.ts'
import type { NodeFacts } from '../node/facts.ts'
import type { InFlight, NatDirection } from './packet.ts'
import type { Choose } from './ways.ts'

/** Where rules meet packets. */
export type HookName = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting'

/** How a packet is refused. */
export type Refusal = 'drop' | 'reject'

/** What rules ask besides the packet. */
export interface Surroundings {
  /** Whether the node has the address. */
  isLocal: (address: Address) => boolean
  choose: Choose
}

/** A compiled program, ready to run. */
export interface Machine {
  family: IPFamily
  /** Whether the program gives the node an address; without it gives none. */
  adds?(address: Address): boolean
  run(hook: HookName, packet: InFlight, surroundings: Surroundings): Refusal | undefined
}

/** Says whether an address is the node's own: one of its interfaces', or a loopback address. */
export function localAddresses({ interfaces }: Pick<NodeFacts, 'interfaces'>): (address: Address) => boolean {
  const texts = Object.values(interfaces)
    .flat()
    .map((text) => parseAddress(text.split('/')[0])?.text)
  const own = new Set(texts)
  return (address) => own.has(address.text) || isLoopback(address)
}

const directions: Partial<Record<HookName, NatDirection>> = {
  prerouting: 'destination',
  output: 'destination',
  postrouting: 'source',
}

/** Whether nat chains of a hook see the packet: the first one of a connection, once in each direction. Notes that they did. */
export function entersNat(hook: HookName, { state, natDone }: InFlight): boolean {
  const direction = directions[hook]
  if (!direction || state !== 'new' || natDone.has(direction)) return false
  natDone.add(direction)
  return true
}

/** Leads a packet through all hooks; what the node sends to itself goes out of `lo` and comes in there. */
export function follow(machine: Machine, packet: InFlight, surroundings: Surroundings): Refusal | undefined {
  const isLocal = (address: Address): boolean => surroundings.isLocal(address) || machine.adds?.(address) === true
  const at = (hook: HookName): Refusal | undefined => machine.run(hook, packet, { ...surroundings, isLocal })
  const isForNode = (): boolean => isLocal(packet.destination)
  if (packet.inputInterface !== '') {
    const refused = at('prerouting')
    if (refused) return refused
    if (!isForNode()) return at('forward') ?? at('postrouting')
    // What IPVS takes there may go on to another machine, like something that the node sends.
    return at('input') ?? (isForNode() ? undefined : (at('output') ?? at('postrouting')))
  }
  const refused = at('output') ?? at('postrouting')
  if (refused || !isForNode()) return refused
  packet.inputInterface = 'lo'
  return at('prerouting') ?? at('input')
}
