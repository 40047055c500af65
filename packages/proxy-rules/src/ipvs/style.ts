// What the node's facts and the configuration say to the parts of every service port.
import { isLoopback, parseAddress, parseCidr, type Address, type Cidr, type IPFamily } from '../net/address.ts'
import { shown } from '../graph/problem.ts'
import type { NodeFacts } from '../node/facts.ts'
import { nodePortAddresses } from '../node/node-port-addresses.ts'
import { dummyDevice } from './program.ts'

/** How the parts of one family are made. */
export interface IpvsStyle {
  family: IPFamily
  scheduler: string
  /** Addresses of other devices: they are there without the dummy. */
  ownAddresses: ReadonlySet<string>
  /** Where node ports answer. */
  nodePortAddresses: readonly string[]
  nodeIP: string | undefined
}

/** What there is in IPVS mode alone. */
export interface IpvsSettings {
  /** A scheduler that the kernel has; default, also for an empty text, `rr`. */
  scheduler?: string | undefined
  /** Virtual servers in these ranges that no Service has are left alone. Default: none. */
  excludeCIDRs?: readonly string[] | undefined
}

const usualScheduler = 'rr'
/** The kernel keeps 16 bytes for it. */
const schedulerName = /^[a-z][a-z\d_-]{0,14}$/
const linkLocal = /^fe[89ab]/

/** @throws RangeError for what is no name of a scheduler */
export function schedulerOf(name = ''): string {
  if (name === '') return usualScheduler
  if (schedulerName.test(name)) return name
  throw new RangeError(`scheduler: ${shown(name)} is no name of an IPVS scheduler; use one such as rr, lc, sh or mh`)
}

/** Those of all devices but the one that is there for Services. */
const ownAddresses = (facts: NodeFacts, family: IPFamily): Address[] =>
  Object.entries(facts.interfaces)
    .filter(([device]) => device !== dummyDevice)
    .flatMap(([, texts]) => texts)
    .map((text) => parseAddress(text.split('/')[0]))
    .filter((address): address is Address => address?.family === family)

const textsOf = (addresses: readonly Address[]): Set<string> => new Set(addresses.map(({ text }) => text))

const hasNodePorts = (address: Address): boolean => !isLoopback(address) && !linkLocal.test(address.text)

/** @throws RangeError for a malformed scheduler or entry of `nodePortAddresses` */
export function ipvsStyle(facts: NodeFacts, family: IPFamily, { scheduler }: IpvsSettings): IpvsStyle {
  const own = ownAddresses(facts, family)
  const { [dummyDevice]: _, ...interfaces } = facts.interfaces
  // Loopback addresses never serve: IPVS does not see what the node sends to itself there.
  const { all, addresses } = nodePortAddresses({ ...facts, interfaces, localhostNodePorts: false }, family)
  return {
    family,
    scheduler: schedulerOf(scheduler),
    ownAddresses: textsOf(own),
    nodePortAddresses: all ? [...textsOf(own.filter(hasNodePorts))] : addresses,
    nodeIP: parseAddress(facts.nodeIPs[family])?.text,
  }
}

/** What programs of one style have in common. @throws RangeError as `ipvsStyle` does */
export function ipvsStyleText(facts: NodeFacts, family: IPFamily, settings: IpvsSettings): string {
  const style = ipvsStyle(facts, family, settings)
  return JSON.stringify({ ...style, ownAddresses: [...style.ownAddresses] })
}

/** @throws RangeError for a malformed entry */
export function excludedRanges({ excludeCIDRs = [] }: IpvsSettings, family: IPFamily): Cidr[] {
  const ranges = excludeCIDRs.map((text) => {
    const range = parseCidr(text)
    if (!range) throw new RangeError(`excludeCIDRs: ${shown(text)} is no CIDR; write it as 10.96.0.0/12`)
    return range
  })
  return ranges.filter((range) => range.family === family)
}
