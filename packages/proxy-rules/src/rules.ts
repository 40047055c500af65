// What needs no machine: Services and EndpointSlices in, rules or a decision out. It runs in browsers, too.
export { chainHash } from './chain-hash.ts'
export type { Change } from './graph/claims.ts'
export { changedServices } from './graph/changes.ts'
export { chooseEndpoints, type Choice, type Place } from './graph/choice.ts'
export type { Endpoint, GraphSlice } from './graph/endpoint.ts'
export type { Problem } from './graph/problem.ts'
export { serviceGraph, type GraphInput, type ServiceGraph, type ServiceNode } from './graph/service-graph.ts'
export type { Protocol, ServicePort } from './graph/service-port.ts'
export { compileIptables, type CompileOptions } from './iptables/compile.ts'
export { iptablesChangeText } from './iptables/change-text.ts'
export { chainNames, type ChainNames } from './iptables/names.ts'
export type { IptablesProgram, Rule, TableProgram } from './iptables/program.ts'
export { iptablesRuleset, type IptablesRuleset, type RulesetOptions } from './iptables/ruleset.ts'
export { iptablesText } from './iptables/text.ts'
export { compileIpvs, type IpvsOptions } from './ipvs/compile.ts'
export { createIpvsLedger, type Exchange, type IpvsDifference, type IpvsLedger } from './ipvs/ledger.ts'
export type {
  Demand,
  IpSet,
  IpSetType,
  IpvsPart,
  IpvsProgram,
  RealServer,
  SetEntry,
  VirtualServer,
} from './ipvs/program.ts'
export type { IpvsSettings } from './ipvs/style.ts'
export { dummyAddresses, ipsetText, ipvsadmText } from './ipvs/text.ts'
export { compileNftables, type NftablesOptions } from './nftables/compile.ts'
export type { Chain, Container, Element, Hook, NftablesProgram, Part, ServicePart } from './nftables/program.ts'
export type { NftablesLayout } from './nftables/style.ts'
export { nftablesChangeText, nftablesText } from './nftables/text.ts'
export type { IPFamily } from './net/address.ts'
export type { LocalTraffic, NodeFacts } from './node/facts.ts'
export type { Inquiry, InquiryAnswer } from './trace/inquiry.ts'
export { packetMeaning } from './trace/meaning.ts'
export type { ConnectionState, Packet, PassedRule } from './trace/packet.ts'
export type { Front, Meaning } from './trace/scene.ts'
export { traceService, type Outcome, type Trace, type TraceOptions } from './trace/trace-service.ts'
