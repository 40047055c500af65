// The worked examples in golden/: inputs as the API server serves them, outputs of the reference proxy.
import { readdirSync, readFileSync } from 'node:fs'
import type { Node, Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'
import {
  serviceGraph,
  type GraphInput,
  type IPFamily,
  type LocalTraffic,
  type NodeFacts,
  type ServiceGraph,
} from '@nodelet/proxy-rules'

export type Item = (Service | EndpointSlice | Node) & { kind: string }

interface Facts extends Omit<NodeFacts, 'localTraffic' | 'randomFully' | 'nfacct' | 'conntrackLiberal'> {
  nodeName: string
  ipFamilies: IPFamily[]
  detectLocalMode: LocalTraffic['mode']
  clusterCIDRs: string[]
  podCIDRs: string[]
  bridgeInterface?: string
  interfaceNamePrefix?: string
  iptablesRandomFully: boolean
  nfacctAvailable: boolean
  conntrackTCPBeLiberal: boolean
}

interface Step {
  note: string
  apply: Item[]
  delete: Item[]
}

interface Example {
  facts: Facts
  list: { items: Item[] }
  steps?: Step[]
}

const folder = new URL('./golden/', import.meta.url)

/** A golden file's text. */
export const golden = (file: string): string => readFileSync(new URL(file, folder), 'utf8')

/** The names of all examples. */
export const exampleNames = (): string[] =>
  readdirSync(folder)
    .filter((file) => file.endsWith('.input.json'))
    .map((file) => file.replace('.input.json', ''))
    .sort()

export const readExample = (name: string): Example => JSON.parse(golden(`${name}.input.json`)) as Example

const localTraffic = (facts: Facts): LocalTraffic => {
  switch (facts.detectLocalMode) {
    case 'ClusterCIDR':
      return { mode: 'ClusterCIDR', cidrs: facts.clusterCIDRs }
    case 'NodeCIDR':
      return { mode: 'NodeCIDR', cidrs: facts.podCIDRs }
    case 'BridgeInterface':
      return { mode: 'BridgeInterface', interface: facts.bridgeInterface ?? '' }
    case 'InterfaceNamePrefix':
      return { mode: 'InterfaceNamePrefix', prefix: facts.interfaceNamePrefix ?? '' }
  }
}

export const nodeFacts = (facts: Facts): NodeFacts => ({
  ...facts,
  localTraffic: localTraffic(facts),
  randomFully: facts.iptablesRandomFully,
  nfacct: facts.nfacctAvailable,
  conntrackLiberal: facts.conntrackTCPBeLiberal,
})

/** What the graph of `items` at an example's node is made of. */
export function exampleInput(facts: Facts, items: readonly Item[], family: IPFamily): GraphInput {
  const ofKind = <T>(kind: string): T[] => items.filter((item) => item.kind === kind) as T[]
  const node = ofKind<Node>('Node').find(({ metadata }) => metadata?.name === facts.nodeName)
  return {
    family,
    services: ofKind<Service>('Service'),
    endpointSlices: ofKind<EndpointSlice>('EndpointSlice'),
    nodeName: facts.nodeName,
    zone: node?.metadata?.labels?.['topology.kubernetes.io/zone'] ?? '',
  }
}

/** The graph of `items` at an example's node. */
export const exampleGraph = (
  facts: Facts,
  items: readonly Item[],
  family: IPFamily,
  previous?: ServiceGraph,
): ServiceGraph => serviceGraph(exampleInput(facts, items, family), previous)

const keyOf = ({ kind, metadata }: Item): string => `${kind} ${metadata?.namespace}/${metadata?.name}`

/** `items` after a step. */
export function afterStep(items: readonly Item[], step: Step): Item[] {
  const byKey = new Map(items.map((item) => [keyOf(item), item]))
  for (const item of step.apply) byKey.set(keyOf(item), item)
  for (const item of step.delete) byKey.delete(keyOf(item))
  return [...byKey.values()]
}
