// The tracer's own truth: the same packets through real namespaces, and what connection tracking made of them.
import type { Service } from 'kubernetes-types/core/v1.d.ts'
import { openNetlink } from '@nodelet/linux'
import type { Flow } from '@nodelet/linux'
import { compileIptables, compileNftables, iptablesText, nftablesText, traceService } from '@nodelet/proxy-rules'
import type { NodeFacts, Outcome, Packet } from '@nodelet/proxy-rules'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { iptablesJumps, withMissingJumps } from '../../src/apply/jumps.ts'
import { runProgram } from '../../src/apply/program.ts'
import { writeSysctl } from '../../src/apply/sysctls.ts'
import { silentLogger } from '../../src/log.ts'
import { startSmallHost, type SmallHost } from '../small-host.ts'
import { clusters, graphOf, packetOf, packetSeeds, type Cluster } from './cluster.ts'

const seed = Number(process.env['NODELET_SEED'] ?? 7)
const clusterCount = 6
const packetCount = 60
const firstPort = 20_000
const vip = '203.0.113.101'
const podAddress = (n: number): string => `10.244.1.${n}`
const clientSources = [
  '198.51.100.7',
  '198.51.100.200',
  '203.0.113.250',
  '192.0.2.2',
  '10.244.2.9',
  '10.244.3.77',
  ...[1, 2, 3, 77].map(podAddress),
]

let host: SmallHost
beforeAll(async () => {
  host = await startSmallHost()
  const { netns } = host
  for (const name of ['all', 'default', 'pod-client', 'uplink'])
    writeSysctl(`net/ipv4/conf/${name}/rp_filter`, 0, silentLogger, netns)
  host.routeLocalnet('host')
  // An error message for each packet that is rejected.
  writeSysctl('net/ipv4/icmp_ratelimit', 0, silentLogger, netns)
  writeSysctl('net/ipv4/icmp_msgs_per_sec', 100_000, silentLogger, netns)
  writeSysctl('net/ipv4/icmp_msgs_burst', 100_000, silentLogger, netns)
  await host.run('ip', 'addr', 'add', '198.18.0.1/32', 'dev', 'uplink')
  for (const source of clientSources) {
    await host.runIn('client', 'ip', 'addr', 'add', `${source}/32`, 'dev', 'lo')
    await host.run('ip', 'route', 'add', `${source}/32`, 'via', '10.99.3.2', 'dev', 'pod-client')
  }
})
afterAll(() => host?.end())

beforeEach(async () => {
  for (const table of ['nat', 'filter']) for (const what of ['-F', '-X']) await host.run('iptables', '-t', table, what)
  await host.run('nft', 'flush', 'ruleset')
})

/**
 * Sends each packet from a port of its own, and prints the numbers of those that were refused, and of those that came to `listen`:
 * of packets to the node itself connection tracking knows before they are refused.
 */
const sender = `
const { packets, listen } = JSON.parse(require('fs').readFileSync(0, 'utf8'))
const udp = (event, handler) => require('dgram').createSocket('udp4').on(event, handler)
const refused = new Set()
const received = new Set()
const all = (start, items) => Promise.all(items.map((item) => new Promise((resolve) => start(item, resolve))))
const receive = (port, ready) => udp('message', (text) => received.add(Number(text))).bind(port, ready)
const send = ({ id, from, to, port }, sent) => {
  const socket = udp('error', (error) => error.code === 'ECONNREFUSED' && refused.add(id))
  socket.bind(${firstPort} + id, from, () => socket.connect(port, to, () => socket.send(String(id), sent)))
}
all(receive, listen)
  .then(() => all(send, packets))
  .then(() => new Promise((resolve) => setTimeout(resolve, 150)))
  .then(() => {
    console.log(JSON.stringify({ refused: [...refused], received: [...received] }))
    process.exit()
  })`

interface Sent {
  id: number
  packet: Packet
}

interface Answers {
  refused: number[]
  received: number[]
}

const endpointPorts = [8080, 8081]

async function send(place: 'host' | 'client', sent: readonly Sent[]): Promise<Answers> {
  const packets = sent.map(({ id, packet: { source, destination, destinationPort } }) => ({
    id,
    from: source,
    to: destination,
    port: destinationPort,
  }))
  const listen = place === 'host' ? [...new Set([...packets.map(({ port }) => port), ...endpointPorts])] : []
  const netns = place === 'host' ? host.netns : host.netns.replace(/host$/, 'client')
  const input = JSON.stringify({ packets, listen })
  const { stdout, stderr } = await runProgram(process.execPath, ['-e', sender], { netns, input })
  expect(stderr).toBe('')
  return JSON.parse(stdout) as Answers
}

type IsOwn = (address: string) => boolean

/** Packets that can really be sent: each from an address that its sender has. */
function sendable(cluster: Cluster, isOwn: IsOwn): Sent[] {
  return fc
    .sample(packetSeeds, { numRuns: packetCount, seed })
    .map((one): Packet => {
      const { source, destination, destinationPort, inputInterface } = packetOf(cluster, { ...one, family: 'IPv4' })
      const comesIn = inputInterface === undefined ? {} : { inputInterface: 'pod-client' }
      return { protocol: 'UDP', source, destination, destinationPort, ...comesIn }
    })
    .filter(({ source, destination, inputInterface }) =>
      inputInterface === undefined
        ? isOwn(source)
        : clientSources.includes(source) && !clientSources.includes(destination) && destination !== '127.0.0.1',
    )
    .map((packet, id) => ({ id, packet }))
}

/** What connection tracking says that happened; what never got through is not in it. */
function happened({ id, packet }: Sent, flows: readonly Flow[], answers: Answers, isOwn: IsOwn): Outcome {
  const flow = flows.find(
    ({ original }) =>
      original.sourcePort === firstPort + id &&
      original.source === packet.source &&
      original.destination === packet.destination,
  )
  const isForItself = packet.inputInterface === undefined && isOwn(flow?.reply.source ?? '')
  if (!flow || (isForItself && !answers.received.includes(id)))
    return { verdict: answers.refused.includes(id) ? 'reject' : 'drop', translation: undefined, masquerade: false }
  const { original, reply } = flow
  const isSame = reply.source === original.destination && reply.sourcePort === original.destinationPort
  return {
    verdict: 'accept',
    translation: isSame ? undefined : { address: reply.source, port: reply.sourcePort ?? 0 },
    // Fully random: the port tells where the address does not.
    masquerade: reply.destination !== original.source || reply.destinationPort !== original.sourcePort,
  }
}

const overUDP = (service: Service): Service => ({
  ...service,
  spec: { ...service.spec, ports: (service.spec?.ports ?? []).map((port) => ({ ...port, protocol: 'UDP' })) },
})

/** The cluster with what this host has. */
function atHost(cluster: Cluster): Cluster {
  const { localTraffic, interfaces } = cluster.facts
  const hasVIP = interfaces['lo']?.includes(vip)
  const facts: NodeFacts = {
    ...cluster.facts,
    randomFully: true,
    nfacct: false,
    interfaces: {
      lo: ['127.0.0.1/8', ...(hasVIP ? [vip] : [])],
      uplink: ['192.0.2.1/24', '198.18.0.1/32'],
      'pod-client': ['10.99.3.1/30'],
    },
    localTraffic: localTraffic.mode === 'BridgeInterface' ? { ...localTraffic, interface: 'pod-client' } : localTraffic,
  }
  return { ...cluster, services: cluster.services.map(overUDP), facts }
}

const programs = ['iptables', 'compat', 'fast'] as const
const sampled = fc.sample(clusters, { numRuns: clusterCount, seed }).map(atHost)
const rows = sampled.flatMap((cluster, number) => programs.map((kind) => ({ cluster, number, kind })))

test.each(rows)('cluster $number, $kind: packets fare as traced', async ({ cluster, kind }) => {
  const { facts } = cluster
  const graph = graphOf(cluster, 'IPv4')
  const iptables = withMissingJumps(compileIptables(graph, facts), new Map(), iptablesJumps)
  const nftables = compileNftables(graph, facts, { layout: kind === 'compat' ? 'compat' : 'fast' })
  const [tool, args, input] =
    kind === 'iptables'
      ? (['iptables-restore', ['--noflush'], iptablesText(iptables)] as const)
      : (['nft', ['-f', '-'], nftablesText(nftables)] as const)
  const { code, stderr } = await runProgram(tool, args, { netns: host.netns, input })
  expect(code, stderr).toBe(0)
  const address = facts.interfaces['lo']?.includes(vip) ? 'replace' : 'del'
  await runProgram('ip', ['addr', address, `${vip}/32`, 'dev', 'lo'], { netns: host.netns })
  const own = new Set(Object.values(facts.interfaces).flatMap((texts) => texts.map((text) => text.split('/')[0])))
  const isOwn = (one: string): boolean => own.has(one)
  const sent = sendable(cluster, isOwn)
  using netlink = openNetlink({ netns: host.netns })
  for (const flow of await netlink.conntrack.list({ family: 4, protocol: 'udp' })) await netlink.conntrack.delete(flow)

  const fromHost = sent.filter(({ packet }) => packet.inputInterface === undefined)
  const fromClient = sent.filter(({ packet }) => packet.inputInterface !== undefined)
  const [atHostItself, atClient] = [await send('host', fromHost), await send('client', fromClient)]
  const answers = { ...atHostItself, refused: [...atHostItself.refused, ...atClient.refused] }
  const flows = await netlink.conntrack.list({ family: 4, protocol: 'udp' })
  for (const one of sent) {
    const program = kind === 'iptables' ? compileIptables(graph, facts) : nftables
    const traces = traceService(program, one.packet, facts)
    const possible = traces.map(({ verdict, translation, masquerade }) => ({ verdict, translation, masquerade }))
    const actual = happened(one, flows, answers, isOwn)
    expect(possible, JSON.stringify(one.packet)).toContainEqual(actual)
  }
  expect(fromHost.length, 'packets of the host').toBeGreaterThan(3)
  expect(fromClient.length, 'packets that come in').toBeGreaterThan(10)
})
