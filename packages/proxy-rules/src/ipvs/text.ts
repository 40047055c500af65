// A program as the tools of IPVS read it: `ipset restore`, `ipvsadm --restore`; `iptablesText` writes the glue.
import type { IPFamily } from '../net/address.ts'
import { createIpvsLedger } from './ledger.ts'
import { virtualServerFlags, type IpSet, type IpvsProgram, type RealServer, type VirtualServer } from './program.ts'
import { entryText } from './sets.ts'

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

function creation({ name, type }: IpSet, family: IPFamily): string {
  const size = type.startsWith('bitmap')
    ? 'range 0-65535'
    : `family ${family === 'IPv4' ? 'inet' : 'inet6'} hashsize 1024 maxelem 65536`
  return `create ${name} ${type} ${size}`
}

/** The input for `ipset restore`: all sets and their entries, in the order of their texts. Sets that exist make it fail. */
export function ipsetText(program: IpvsProgram): string {
  const { added } = createIpvsLedger().update(program).entries
  const additions = added.map((entry) => `add ${entry.set} ${entryText(entry)}`).sort(byText)
  return [...program.sets.map((set) => creation(set, program.family)), ...additions, ''].join('\n')
}

const option: Record<VirtualServer['protocol'], string> = { TCP: '-t', UDP: '-u', SCTP: '--sctp-service' }

const host = ({ address, port }: RealServer | VirtualServer): string =>
  `${address.includes(':') ? `[${address}]` : address}:${port}`

function serverLines(server: VirtualServer): string[] {
  const at = `${option[server.protocol]} ${host(server)}`
  const persistent = (server.flags & virtualServerFlags.persistent) !== 0 ? ` -p ${server.timeoutSeconds}` : ''
  const sourcePort = (server.flags & virtualServerFlags.sourcePort) !== 0 ? ' -b mh-port' : ''
  const real = server.realServers.map((one) => `-a ${at} -r ${host(one)} -m -w ${one.weight}`)
  return [`-A ${at} -s ${server.scheduler}${persistent}${sourcePort}`, ...real]
}

/** The input for `ipvsadm --restore`, in the order of addresses. */
export function ipvsadmText(program: IpvsProgram): string {
  const { virtualServers } = createIpvsLedger().update(program)
  const texts = virtualServers.flatMap(({ after }) => (after ? [serverLines(after).join('\n')] : []))
  return [...texts.sort(byText), ''].join('\n')
}

/** The addresses that the dummy device has to have, each with its prefix: for `ip address add … dev kube-ipvs0`. */
export const dummyAddresses = (program: IpvsProgram): string[] =>
  createIpvsLedger()
    .update(program)
    .addresses.added.map((address) => `${address}/${program.family === 'IPv4' ? 32 : 128}`)
    .sort(byText)
