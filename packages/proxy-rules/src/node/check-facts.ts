// The node's facts, checked where they come in: callers in JavaScript and configuration files have no types.
import { isObject, shown } from '../graph/problem.ts'
import { parseAddress } from '../net/address.ts'
import type { LocalTraffic, NodeFacts } from './facts.ts'

const wrong = (field: string, value: unknown, remedy: string): RangeError =>
  new RangeError(`${field}: ${shown(value)} ${remedy}`)

function checkTexts(field: string, value: unknown): void {
  if (!Array.isArray(value)) throw wrong(field, value, 'is no list')
  for (const text of value) if (typeof text !== 'string') throw wrong(field, text, 'in the list is no text')
}

function checkBoolean(field: string, value: unknown): void {
  if (typeof value !== 'boolean') throw wrong(field, value, 'is neither true nor false')
}

function checkNodeIPs(value: unknown): void {
  if (!isObject(value)) throw wrong('nodeIPs', value, 'is no object with IPv4, IPv6 or both')
  for (const [family, text] of Object.entries(value)) {
    if (family !== 'IPv4' && family !== 'IPv6') throw wrong('nodeIPs', family, 'is neither IPv4 nor IPv6')
    if (text !== undefined && parseAddress(text)?.family !== family)
      throw wrong(`nodeIPs.${family}`, text, `is no ${family} address`)
  }
}

const checks: Record<LocalTraffic['mode'], (traffic: Record<string, unknown>) => void> = {
  ClusterCIDR: ({ cidrs }) => checkTexts('localTraffic.cidrs', cidrs),
  NodeCIDR: ({ cidrs }) => checkTexts('localTraffic.cidrs', cidrs),
  BridgeInterface: (traffic) => checkText('localTraffic.interface', traffic['interface']),
  InterfaceNamePrefix: ({ prefix }) => checkText('localTraffic.prefix', prefix),
}

function checkText(field: string, value: unknown): void {
  if (typeof value !== 'string') throw wrong(field, value, 'is no text')
}

function checkLocalTraffic(value: unknown): void {
  if (!isObject(value)) throw wrong('localTraffic', value, 'is no object with a mode')
  const traffic = value as Record<string, unknown>
  const mode: unknown = traffic['mode']
  if (typeof mode !== 'string' || !Object.hasOwn(checks, mode))
    throw wrong('localTraffic.mode', mode, `is none of ${Object.keys(checks).join(', ')}`)
  checks[mode as LocalTraffic['mode']](traffic)
}

/** @throws RangeError that names what is no object of interfaces with lists of addresses */
export function checkInterfaces(value: unknown): void {
  if (!isObject(value)) throw wrong('interfaces', value, 'is no object')
  for (const [name, addresses] of Object.entries(value)) checkTexts(`interfaces.${name}`, addresses)
}

/**
 * Checks of which kind the facts are; what texts say is checked by those who read them.
 * @throws RangeError that names field and value
 */
export function checkFacts(facts: NodeFacts): void {
  if (!isObject(facts)) throw wrong('facts', facts, 'is no object')
  checkNodeIPs(facts.nodeIPs)
  checkInterfaces(facts.interfaces)
  checkTexts('nodePortAddresses', facts.nodePortAddresses)
  checkLocalTraffic(facts.localTraffic)
  for (const field of ['masqueradeAll', 'localhostNodePorts', 'randomFully', 'nfacct', 'conntrackLiberal'] as const)
    checkBoolean(field, facts[field])
  if (facts.serviceCIDRs !== undefined) checkTexts('serviceCIDRs', facts.serviceCIDRs)
}
