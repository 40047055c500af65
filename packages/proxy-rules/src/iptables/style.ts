// What the node's facts say to the rules of every service port.
import type { IPFamily } from '../net/address.ts'
import type { NodeFacts } from '../node/facts.ts'
import { nodePortAddresses } from '../node/node-port-addresses.ts'
import type { EntranceStyle } from './entrances.ts'
import { localMatch } from './local-match.ts'
import type { ChainStyle } from './service-chains.ts'

/** How the rules of service ports are written, except for comments, which the size of the cluster decides. */
export type Style = EntranceStyle & Omit<ChainStyle, 'comments'>

/** Beyond so many endpoints, those of all service ports together, their chains have no comments. */
const largeCluster = 1000

/** @throws RangeError for malformed facts: CIDRs, interface names. */
export const styleOf = (facts: NodeFacts, family: IPFamily): Style => ({
  countLocalhost: nodePortAddresses(facts, family).localhost && facts.nfacct,
  local: localMatch(facts.localTraffic, family),
  masqueradeAll: facts.masqueradeAll,
  nodeIP: facts.nodeIPs[family],
})

/** Whether chains that are written now have comments. */
export const hasComments = ({ endpointCount }: { endpointCount: number }): boolean => endpointCount <= largeCluster
