// The IP sets, by the names that the Go proxy gives them.
import type { IPFamily } from '../net/address.ts'
import type { IpSet, IpSetType, SetEntry } from './program.ts'

/** A set's name without what says that it is ours, and of which family. */
export type SetKey =
  | 'LOOP-BACK'
  | 'CLUSTER-IP'
  | 'EXTERNAL-IP'
  | 'EXTERNAL-IP-LOCAL'
  | 'LOAD-BALANCER'
  | 'LOAD-BALANCER-LOCAL'
  | 'LOAD-BALANCER-FW'
  | 'LOAD-BALANCER-SOURCE-CIDR'
  | 'LOAD-BALANCER-SOURCE-IP'
  | 'NODE-PORT-TCP'
  | 'NODE-PORT-LOCAL-TCP'
  | 'NODE-PORT-UDP'
  | 'NODE-PORT-LOCAL-UDP'
  | 'NODE-PORT-SCTP-HASH'
  | 'NODE-PORT-LOCAL-SCTP-HASH'
  | 'HEALTH-CHECK-NODE-PORT'
  | 'IPVS-IPS'

const types: Readonly<Record<SetKey, IpSetType>> = {
  'LOOP-BACK': 'hash:ip,port,ip',
  'CLUSTER-IP': 'hash:ip,port',
  'EXTERNAL-IP': 'hash:ip,port',
  'EXTERNAL-IP-LOCAL': 'hash:ip,port',
  'LOAD-BALANCER': 'hash:ip,port',
  'LOAD-BALANCER-LOCAL': 'hash:ip,port',
  'LOAD-BALANCER-FW': 'hash:ip,port',
  'LOAD-BALANCER-SOURCE-CIDR': 'hash:ip,port,net',
  'LOAD-BALANCER-SOURCE-IP': 'hash:ip,port,ip',
  'NODE-PORT-TCP': 'bitmap:port',
  'NODE-PORT-LOCAL-TCP': 'bitmap:port',
  'NODE-PORT-UDP': 'bitmap:port',
  'NODE-PORT-LOCAL-UDP': 'bitmap:port',
  'NODE-PORT-SCTP-HASH': 'hash:ip,port',
  'NODE-PORT-LOCAL-SCTP-HASH': 'hash:ip,port',
  'HEALTH-CHECK-NODE-PORT': 'bitmap:port',
  'IPVS-IPS': 'hash:ip',
}

const longestName = 31

/** The name of a set: the families have sets of their own, since a hash holds one family. */
export const setName = (key: SetKey, family: IPFamily): string =>
  `${family === 'IPv6' ? 'KUBE-6-' : 'KUBE-'}${key}`.slice(0, longestName)

/** All sets of a family. */
export const ipSets = (family: IPFamily): IpSet[] =>
  Object.entries(types).map(([key, type]) => ({ name: setName(key as SetKey, family), type }))

/** An entry as the program `ipset` writes it, for instance `10.96.0.10,tcp:80`. */
export function entryText({ address, protocol, port, source, sourceRange }: SetEntry): string {
  const service = protocol === undefined ? port : `${protocol.toLowerCase()}:${port}`
  return [address, service, source, sourceRange].filter((part) => part !== undefined).join(',')
}
