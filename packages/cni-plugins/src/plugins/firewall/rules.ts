// firewall's rules of one family, as iptables-save prints them. Pure.
import { familyOf } from '../../families.ts'
import { quoted } from '../../names.ts'
import type { AttachmentKey, CniResult } from '../../types.ts'
import type { IngressPolicy } from './config.ts'
import { hostPrefix } from '../../host-prefix.ts'

const forward = 'CNI-FORWARD'
/**
 * Nothing leads to this chain: it says whose address is whose, which the rules themselves, being those of the reference plugin,
 * do not. So it lives and dies with them.
 */
const owners = 'CNI-FORWARD-OWNERS'
const stages = ['CNI-ISOLATION-STAGE-1', 'CNI-ISOLATION-STAGE-2'] as const
/** Whose rules go before those of pods, unless the network names another. */
export const usualAdminChain = 'CNI-ADMIN'
/** Chains that all pods share. */
export const sharedChains: readonly string[] = [forward, owners, ...stages]

export interface FirewallOptions {
  network: string
  pod: AttachmentKey
  /** Of one family, with their prefixes. */
  addresses: readonly string[]
  /** Absent: another backend lets pods through. */
  adminChain?: string
  /** What keeps bridges apart; absent: nothing. */
  isolation?: { bridge: string; policy: Exclude<IngressPolicy, 'open'> } | undefined
}

/** Those of a family among addresses of a result. */
export const addressesOf = ({ ips }: CniResult, family: 4 | 6): string[] =>
  ips.map(({ address }) => address).filter((address) => familyOf(address) === family)

/** The lines of an ADD: the shared ones that `saved` lacks, then the pod's own. */
export function firewallRules(options: FirewallOptions, saved: readonly string[]): string[] {
  const { chains, rules } = sharedRules(options)
  return [
    ...chains.filter((chain) => !saved.some((line) => isChain(line, chain))).map((chain) => `-N ${chain}`),
    ...rules
      .filter(({ chain, rule }) => !saved.includes(`-A ${chain} ${rule}`))
      .map(({ chain, rule, isFirst }) => `${isFirst ? '-I' : '-A'} ${chain} ${rule}`),
    ...podRules(options).map((rule) => `-A ${rule}`),
  ]
}

/** The same for a table that has the shared rules, which it checks. */
export function expectedFirewallRules(options: FirewallOptions): string[] {
  const shared = sharedRules(options).rules.map(({ chain, rule }) => `-C ${chain} ${rule}`)
  return [...shared, ...podRules(options).map((rule) => `-A ${rule}`)]
}

/** What takes a pod's rules away again. */
export const firewallRemoval = (pod: PodAddresses): string[] => podRules(pod).map((rule) => `-D ${rule}`)

/** The first rule that is not there. */
export function missingRule(options: FirewallOptions, saved: readonly string[]): string | undefined {
  const shared = sharedRules(options).rules.map(({ chain, rule }) => `-A ${chain} ${rule}`)
  const own = options.addresses.flatMap(rulesOfAddress).map((rule) => `-A ${rule}`)
  return [...shared, ...own].find((line) => !saved.includes(line))
}

/** What takes away the rules of a pod, be they of another program; by what the table says of it where no address is known. */
export function removalOfPod({ network, pod, addresses }: PodAddresses, saved: readonly string[]): string[] {
  const own = ownersIn(saved).filter(({ note }) => note === noteOf(network, pod))
  return removal(own, addresses.map(hostPrefix), saved)
}

export type PodAddresses = Pick<FirewallOptions, 'network' | 'pod' | 'addresses'>

/** What takes away the rules of the network's pods but those that are valid. */
export function removalOfOthers(network: string, valid: readonly AttachmentKey[], saved: readonly string[]): string[] {
  const notes = new Set(valid.map((pod) => noteOf(network, pod)))
  const ofNetwork = noteOf(network).slice(0, -1)
  const gone = ownersIn(saved).filter(({ note }) => note.startsWith(ofNetwork) && !notes.has(note))
  return removal(gone, [], saved)
}

/** An address that another pod has by now keeps as many rules as it has owners. */
function removal(gone: readonly Owner[], more: readonly string[], saved: readonly string[]): string[] {
  const left = ownersIn(saved).filter((owner) => !gone.some(({ line }) => line === owner.line))
  const addresses = new Set([...gone.map(({ address }) => address), ...more])
  const rules = [...addresses].flatMap((address) => {
    const kept = left.filter((owner) => owner.address === address).length
    return rulesOfAddress(address).flatMap((rule) => saved.filter((line) => line === `-A ${rule}`).slice(kept))
  })
  return [...gone.map(({ line }) => line), ...rules].map((line) => `-D ${line.slice('-A '.length)}`)
}

interface Owner {
  line: string
  address: string
  /** In quotes. */
  note: string
}

function ownersIn(saved: readonly string[]): Owner[] {
  const pattern = new RegExp(`^-A ${owners} -s (\\S+) -m comment --comment (".*")$`)
  return saved.flatMap((line) => {
    const [, address, note] = pattern.exec(line) ?? []
    return address !== undefined && note !== undefined ? [{ line, address, note }] : []
  })
}

/** Without a pod: how those of all pods of the network begin. */
const noteOf = (network: string, pod?: AttachmentKey): string =>
  quoted(`name: "${network}" id: ${pod ? `"${pod.containerId}" if: "${pod.ifName}"` : ''}`.slice(0, longestComment))
const longestComment = 255

const rulesOfAddress = (address: string): string[] => [
  `${forward} -d ${hostPrefix(address)} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
  `${forward} -s ${hostPrefix(address)} -j ACCEPT`,
]

const podRules = ({ network, pod, addresses }: PodAddresses): string[] =>
  addresses.flatMap((address) => [
    ...rulesOfAddress(address),
    `${owners} -s ${hostPrefix(address)} -m comment --comment ${noteOf(network, pod)}`,
  ])

const isChain = (line: string, chain: string): boolean => line.startsWith(`:${chain} `)
const commented = (text: string, target: string): string => `-m comment --comment "${text}" -j ${target}`

interface SharedRule {
  chain: string
  rule: string
  /** Goes before those that are there. */
  isFirst?: boolean
}

/** What pods share stays; in the order in which it is to be made. */
function sharedRules({ adminChain, isolation }: FirewallOptions): { chains: string[]; rules: SharedRule[] } {
  const accepting = adminChain === undefined ? [] : [forward, adminChain, owners]
  const accepts: SharedRule[] = [
    { chain: 'FORWARD', rule: commented('CNI firewall plugin rules', forward), isFirst: true },
    { chain: forward, rule: commented('CNI firewall plugin admin overrides', adminChain ?? ''), isFirst: true },
  ]
  return {
    chains: [...accepting, ...(isolation ? stages : [])],
    rules: [...(adminChain === undefined ? [] : accepts), ...(isolation ? isolationRules(isolation) : [])],
  }
}

function isolationRules({ bridge, policy }: NonNullable<FirewallOptions['isolation']>): SharedRule[] {
  const [stage1, stage2] = stages
  const sameBridge = 'CNI firewall plugin rules (ingressPolicy: same-bridge)'
  const isolated = 'CNI firewall plugin rules (ingressPolicy: isolated)'
  const within = { chain: stage1, rule: `-i ${bridge} -o ${bridge} ${commented(isolated, 'DROP')}`, isFirst: true }
  return [
    { chain: 'FORWARD', rule: commented(sameBridge, stage1), isFirst: true },
    { chain: stage1, rule: `-i ${bridge} ! -o ${bridge} ${commented(sameBridge, stage2)}`, isFirst: true },
    ...(policy === 'isolated' ? [within] : []),
    { chain: stage1, rule: commented(sameBridge, 'RETURN') },
    { chain: stage2, rule: `-o ${bridge} ${commented(sameBridge, 'DROP')}`, isFirst: true },
    { chain: stage2, rule: commented(sameBridge, 'RETURN') },
  ]
}
