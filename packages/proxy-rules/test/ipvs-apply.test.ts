// What the back end of IPVS mode decides, without a kernel.
import type { ListedIpset } from '@nodelet/linux'
import { expect, test } from 'vitest'
import { leftoverTexts } from '../src/apply/cleanup.ts'
import { needsReuseOff } from '../src/apply/ipvs-kernel.ts'
import { hasAll, hasServersInTurn } from '../src/apply/ipvs-look.ts'
import { kernelServer, planServersInTurn, planSetsInTurn, type HeldServer } from '../src/apply/ipvs-plan.ts'
import { parseTableInTurn } from '../src/apply/ipvs-table.ts'
import { ipvsJumps, withMissingJumps } from '../src/apply/jumps.ts'
import { parseSaved } from '../src/apply/saved.ts'
import { finish } from '../src/slices.ts'
import { iptablesText } from '../src/iptables/text.ts'
import type { IptablesProgram } from '../src/iptables/program.ts'
import type { VirtualServer } from '../src/ipvs/program.ts'

const real = (port: number, weight = 1) => ({ address: '10.244.1.9', port, weight })
const server = (rest: Partial<VirtualServer> = {}): VirtualServer => ({
  protocol: 'TCP',
  address: '10.96.0.10',
  port: 80,
  scheduler: 'rr',
  flags: 0,
  timeoutSeconds: 0,
  realServers: [real(1), real(2)],
  ...rest,
})
const key = { protocol: 'tcp', address: '10.96.0.10', port: 80 } as const
const plain = { ...key, scheduler: 'rr' }
const held = (rest: Partial<HeldServer> = {}): HeldServer => ({
  server: plain,
  realServers: [real(1), real(2)],
  ...rest,
})

test.each<{
  name: string
  held?: HeldServer
  wanted?: VirtualServer
  additions?: object[]
  deletions?: object[]
  leaving?: number[]
}>([
  {
    name: 'new',
    wanted: server(),
    additions: [
      { kind: 'addVirtualServer', server: plain },
      { kind: 'addRealServer', of: plain, server: real(1) },
      { kind: 'addRealServer', of: plain, server: real(2) },
    ],
  },
  { name: 'as it was', held: held(), wanted: server() },
  { name: 'gone', held: held(), deletions: [{ kind: 'deleteVirtualServer', server: plain }] },
  {
    name: 'another scheduler',
    held: held(),
    wanted: server({ scheduler: 'mh', flags: 0x10 }),
    additions: [{ kind: 'setVirtualServer', server: { ...plain, scheduler: 'mh', sourcePort: true } }],
  },
  {
    name: 'another affinity',
    held: held({ server: { ...plain, persistent: { seconds: 60, prefixLength: 32 } } }),
    wanted: server({ flags: 1, timeoutSeconds: 10_800 }),
    additions: [{ kind: 'setVirtualServer', server: { ...plain, persistent: { seconds: 10_800, prefixLength: 32 } } }],
  },
  {
    name: 'other real servers',
    held: held(),
    wanted: server({ realServers: [real(2), real(3)] }),
    additions: [{ kind: 'addRealServer', of: plain, server: real(3) }],
    leaving: [1],
  },
  {
    name: 'one that was to go, and one that is',
    held: held({ realServers: [real(1, 0), real(2), real(4, 0)] }),
    wanted: server(),
    additions: [{ kind: 'setRealServer', of: plain, server: real(1) }],
    leaving: [4],
  },
])('a virtual server: $name', ({ held: before, wanted, additions = [], deletions = [], leaving = [] }) => {
  const plan = finish(planServersInTurn([[before, wanted]]))
  expect(plan).toMatchObject({ additions, deletions })
  expect(plan.leaving.map((one) => one.server.port)).toEqual(leaving)
  expect(plan.staying).toHaveLength(wanted?.realServers.length ?? 0)
})

test('the kernel’s table of real servers', () => {
  const text = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A60000A:0050 rr persistent 1080000 FFFFFFFF
  -> 0AF40109:1F90      Masq    1      0          12        
  -> 0AF40209:1F91      Masq    0      3          0         
FWM  00000001 rr 
  -> 0AF40109:1F90      Masq    1      0          0         
UDP  [fd96:0000:0000:0000:0000:0000:0000:000a]:0035 wrr ops 
  -> [fd44:0001:0000:0000:0000:0000:0000:0002]:0035      Masq    100    0          0         
SCTP 0A60000A:0050 mh 
`
  const table = finish(parseTableInTurn(text))
  expect(Object.fromEntries(table)).toEqual({
    'tcp 10.96.0.10 80': [real(8080), { address: '10.244.2.9', port: 8081, weight: 0 }],
    'udp fd96::a 53': [{ address: 'fd44:1::2', port: 53, weight: 100 }],
    'sctp 10.96.0.10 80': [],
  })
})

test.each<{
  name: string
  isSame: boolean
  servers?: object[]
  weights?: Record<number, number>
}>([
  { name: 'as loaded', isSame: true },
  { name: 'without it', servers: [], isSame: false },
  { name: 'another scheduler', servers: [{ ...plain, scheduler: 'wrr' }], isSame: false },
  { name: 'a stray one', servers: [plain, { ...plain, port: 81 }], isSame: false },
  { name: 'one of others', servers: [plain, { ...plain, address: '10.97.0.1' }], isSame: true },
  { name: 'one of the other family', servers: [plain, { ...plain, address: 'fd96::1' }], isSame: true },
  { name: 'another weight', weights: { 1: 2, 2: 1 }, isSame: false },
  { name: 'one real server less', weights: { 1: 1 }, isSame: false },
  { name: 'another one', weights: { 1: 1, 3: 1 }, isSame: false },
  { name: 'one more', weights: { 1: 1, 2: 1, 3: 0 }, isSame: false },
  { name: 'one that is to go', weights: { 1: 1, 2: 1, 9: 0 }, isSame: true },
  { name: 'one that is to go, with weight', weights: { 1: 1, 2: 1, 9: 1 }, isSame: false },
])('$name: it is what was loaded: $isSame', ({ servers = [plain], weights = { 1: 1, 2: 1 }, isSame }) => {
  const present = Object.entries(weights).map(([port, weight]) => real(Number(port), weight))
  const seen = { servers: servers as (typeof plain)[], realServers: new Map([['tcp 10.96.0.10 80', present]]) }
  const loaded = {
    program: { family: 'IPv4' } as const,
    leavingOf: () => [real(9)],
    isOthers: (address: string) => address === '10.97.0.1',
  }
  expect(finish(hasServersInTurn([server()], seen, loaded))).toBe(isSame)
})

test('IPv6 is persistent by the whole address', () => {
  const six = server({ address: 'fd00::1', flags: 1, timeoutSeconds: 7 })
  expect(kernelServer(six)).toMatchObject({ address: 'fd00::1', persistent: { seconds: 7, prefixLength: 128 } })
})

test('sets get what they miss, and lose what nobody asks for', () => {
  const sets = [
    { name: 'KUBE-CLUSTER-IP', type: 'hash:ip,port' },
    { name: 'KUBE-NODE-PORT-TCP', type: 'bitmap:port' },
    { name: 'KUBE-LOAD-BALANCER-SOURCE-CIDR', type: 'hash:ip,port,net' },
  ] as const
  const port = { protocol: 'TCP', port: 80 } as const
  const entries = [
    { set: 'KUBE-CLUSTER-IP', address: '10.96.0.1', ...port },
    { set: 'KUBE-CLUSTER-IP', address: '10.96.0.2', ...port },
    { set: 'KUBE-LOAD-BALANCER-SOURCE-CIDR', address: '10.96.0.1', ...port, sourceRange: '10.1.1.1/32' },
  ]
  const address = { type: 'hash:ip,port', family: 4 } as const
  const ranges = { name: 'KUBE-LOAD-BALANCER-SOURCE-CIDR', type: 'hash:ip,port,net', family: 4 } as const
  const listed: ListedIpset[] = [
    { ...address, name: 'KUBE-CLUSTER-IP', entries: ['10.96.0.9,tcp:80', '10.96.0.2,tcp:80'] },
    { ...ranges, entries: ['10.96.0.1,tcp:80,10.1.1.1'] },
  ]
  const plan = finish(planSetsInTurn(sets, 'IPv4', entries, listed))
  expect(plan.missing).toEqual([{ name: 'KUBE-NODE-PORT-TCP', type: 'bitmap:port' }])
  expect(plan.changes.map((change) => [change.add, change.delete])).toEqual([
    [['10.96.0.1,tcp:80'], ['10.96.0.9,tcp:80']],
    [[], []],
    [[], []],
  ])
  const six: ListedIpset = { ...address, name: 'KUBE-CLUSTER-IP', family: 6, entries: [] }
  expect(() => finish(planSetsInTurn(sets, 'IPv4', [], [six]))).toThrow(
    'the set KUBE-CLUSTER-IP is a hash:ip,port for IPv6: destroy it',
  )
})

test.each([
  ['4.0.9', false],
  ['4.1.0', true],
  ['4.19.0-26-amd64', true],
  ['5.8.18', true],
  ['5.9.0', false],
  ['5.10.0', false],
  ['6.18.3', false],
])('on Linux %s reused ports are scheduled anew: %s', (kernel, expected) => {
  expect(needsReuseOff(kernel)).toBe(expected)
})

const glue: IptablesProgram = {
  family: 'IPv4',
  tables: [
    {
      table: 'nat',
      chains: ['KUBE-SERVICES', 'KUBE-LOAD-BALANCER'],
      rules: [{ chain: 'KUBE-SERVICES', args: ['-j', 'ACCEPT'] }],
      deletions: [],
    },
  ],
}

test('glue is whole while chains, their rules and the jumps are there', () => {
  const text = iptablesText(withMissingJumps(glue, new Map(), ipvsJumps)).replaceAll('-I ', '-A ')
  expect(hasAll(glue, parseSaved(text))).toBe(true)
  for (const lost of ['-A KUBE-SERVICES -j ACCEPT\n', /-A PREROUTING .*\n/, '*nat'])
    expect(hasAll(glue, parseSaved(text.replace(lost, '\n'))), String(lost)).toBe(false)
  expect(hasAll(glue, parseSaved(`${text}-A KUBE-LOAD-BALANCER -j DROP\n`))).toBe(false)
})

test.each([
  {
    mode: 'ipvs',
    gone: [
      ':KUBE-NODEPORTS - [0:0]',
      ':KUBE-SERVICES - [0:0]',
      '-D INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS',
      '-D INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
      '-X KUBE-NODEPORTS',
      '-X KUBE-SERVICES',
    ],
  },
  {
    mode: 'iptables',
    gone: [
      ':KUBE-IPVS-FILTER - [0:0]',
      '-D INPUT -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL',
      '-D INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER',
      '-X KUBE-IPVS-FILTER',
    ],
  },
] as const)('what $mode mode removes of the other one’s, and of nobody else’s', ({ mode, gone }) => {
  const saved = parseSaved(`*filter
:INPUT ACCEPT [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-IPVS-FILTER - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-ROUTER - [0:0]
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER
-A INPUT -j KUBE-FIREWALL
-A INPUT -j KUBE-ROUTER
COMMIT
`)
  expect(leftoverTexts(saved, mode)).toEqual([['*filter', ...gone, 'COMMIT', ''].join('\n')])
})
