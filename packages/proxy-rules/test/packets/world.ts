// A node with pods, another node and the world outside, each in a network namespace with servers and senders in it.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { inNamespace, isNamespacePinned, openNetlink, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import type { Netlink } from '@nodelet/linux'
import { runProgram } from '../../src/apply/program.ts'
import { writeSysctl } from '../../src/apply/sysctls.ts'
import { silentLogger } from '../../src/log.ts'
import type { Answer, Done, Listener, Order, Probe } from './messages.ts'
import {
  crowd,
  families,
  herdPort,
  herdRange,
  nodeSecond,
  places,
  podGateway,
  rooms,
  router,
  serverPorts,
  serviceRanges,
} from './places.ts'
import type { PerFamily, Place, Room } from './places.ts'

export interface World extends AsyncDisposable {
  /** Our node's network namespace. */
  netns: string
  netnsOf(room: Room): string
  /** Sends all at once, each from its room. */
  probe(probes: readonly (Probe & { room: Room })[]): Promise<Answer[]>
  /** Runs a program in the node's namespace. @throws Error when it fails */
  run(program: string, ...args: string[]): Promise<string>
  /** A setting of the node's kernel. */
  setSysctl(name: string, value: number): void
  setAddress(change: 'add' | 'delete', link: string, address: string): Promise<void>
}

/** Needs root, veth and bridges; nothing of iptables or nftables, so that it can be made in any guest. */
export async function openWorld(): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-packets-'))
  const netnsOf = (room: Room): string => join(folder, room)
  const netns = netnsOf('node')
  const threads = new Map<Room, Thread>()
  const close = async (): Promise<void> => {
    await Promise.all([...threads.values()].map((thread) => thread.end()))
    for (const room of rooms) if (isNamespacePinned(netnsOf(room))) unpinNamespace(netnsOf(room))
    rmSync(folder, { recursive: true })
  }
  try {
    for (const room of rooms) {
      pinNamespaces({ paths: { net: netnsOf(room) } })
      tune(netnsOf(room))
    }
    await connectRooms(netnsOf)
    for (const room of rooms) threads.set(room, startThread(netnsOf(room)))
    await Promise.all([...threads].map(([room, thread]) => thread.listen(listenersIn(room))))
  } catch (error) {
    await close()
    throw error
  }
  return {
    netns,
    netnsOf,
    probe: async (probes) => {
      const answers = new Map<Probe, Answer>()
      const perRoom = Map.groupBy(probes, ({ room }) => room)
      const sending = [...perRoom].map(async ([room, own]) => {
        const got = (await threads.get(room)?.probe(own)) ?? []
        for (const [index, probe] of own.entries()) answers.set(probe, got[index] ?? 'silence')
      })
      await Promise.all(sending)
      return probes.map((probe) => answers.get(probe) ?? 'silence')
    },
    run: async (program, ...args) => {
      const { code, stdout, stderr } = await runProgram(program, args, { netns })
      if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${code} ${stderr}`)
      return stdout
    },
    setSysctl: (name, value) => void writeSysctl(name, value, silentLogger, netns),
    setAddress: async (change, link, address) => {
      using net = openNetlink({ netns })
      await net.addresses[change](link, address)
    },
    [Symbol.asyncDispose]: close,
  }
}

interface Thread {
  listen(listeners: readonly Listener[]): Promise<unknown>
  probe(probes: readonly Probe[]): Promise<Answer[]>
  end(): Promise<unknown>
}

function startThread(netns: string): Thread {
  // A thread is born in the namespace of the one that makes it, and so are its sockets.
  const worker = inNamespace('net', netns, () => new Worker(new URL('./thread.ts', import.meta.url)))
  const waiting = new Map<number, PromiseWithResolvers<Answer[]>>()
  let last = 0
  worker.on('message', ({ id, answers }: Done) => {
    waiting.get(id)?.resolve(answers)
    waiting.delete(id)
  })
  worker.on('error', (error) => {
    for (const { reject } of waiting.values()) reject(error)
  })
  const ask = (order: Order): Promise<Answer[]> => {
    const answer = Promise.withResolvers<Answer[]>()
    waiting.set(order.id, answer)
    worker.postMessage(order)
    return answer.promise
  }
  return {
    listen: (listeners) => ask({ id: (last += 1), listen: listeners }),
    probe: (probes) => ask({ id: (last += 1), probes }),
    end: () => worker.terminate(),
  }
}

function listenersIn(room: Room): Listener[] {
  const here = Object.entries(places).filter(([, place]) => place.room === room && room !== 'outside')
  const own = here.flatMap(([name, { address }]) =>
    families.flatMap((family) =>
      serverPorts.map((port) => ({
        name: port === serverPorts[0] ? name : `${name}:${port}`,
        address: address[family],
        port,
      })),
    ),
  )
  return room === 'far' ? [...own, { address: '::', port: herdPort }] : own
}

function tune(netns: string): void {
  const set = (name: string, value: number): void => void writeSysctl(`net/${name}`, value, silentLogger, netns)
  for (const scope of ['all', 'default']) {
    set(`ipv4/conf/${scope}/rp_filter`, 0)
    // Pods of one bridge answer each other through the node.
    set(`ipv4/conf/${scope}/send_redirects`, 0)
    set(`ipv6/conf/${scope}/accept_redirects`, 0)
    // An address that is still being tested for twins answers nobody.
    set(`ipv6/conf/${scope}/accept_dad`, 0)
    set(`ipv6/conf/${scope}/dad_transmits`, 0)
  }
  // An error message for each packet that is rejected.
  set('ipv4/icmp_ratelimit', 0)
  set('ipv4/icmp_msgs_per_sec', 1_000_000)
  set('ipv4/icmp_msgs_burst', 1_000_000)
  set('ipv6/icmp/ratelimit', 0)
  // What became of all packets is read when the last one has been answered.
  const states = ['tcp_timeout_close', 'tcp_timeout_syn_sent', 'udp_timeout', 'udp_timeout_stream']
  for (const state of [...states, 'sctp_timeout_closed', 'sctp_timeout_cookie_wait', 'sctp_timeout_cookie_echoed'])
    set(`netfilter/nf_conntrack_${state}`, 600)
}

const width = { IPv4: 32, IPv6: 128 } as const
const all = { IPv4: '0.0.0.0/0', IPv6: '::/0' } as const
const ranges: Record<'herePods' | 'farPods' | 'services' | 'externalIPs' | 'vips', PerFamily> = {
  herePods: { IPv4: '10.244.1.0/24', IPv6: 'fd44:1::/64' },
  farPods: { IPv4: '10.244.2.0/24', IPv6: 'fd44:2::/64' },
  services: serviceRanges,
  externalIPs: { IPv4: '203.0.113.0/24', IPv6: '2001:db8:e::/64' },
  vips: { IPv4: '198.19.0.0/24', IPv6: '2001:db8:f::/64' },
}

async function connectRooms(netnsOf: (room: Room) => string): Promise<void> {
  using node = openNetlink({ netns: netnsOf('node') })
  using far = openNetlink({ netns: netnsOf('far') })
  using outside = openNetlink({ netns: netnsOf('outside') })
  const nets = [node, far, outside]
  for (const net of nets) await net.links.set('lo', { up: true })
  // Who is outside takes 127.0.0.1 for an address behind the node.
  await outside.addresses.delete('lo', '127.0.0.1/8')
  writeSysctl('net/ipv4/conf/all/route_localnet', 1, silentLogger, netnsOf('outside'))
  // The network of the nodes, with the outside as its router.
  await outside.links.add({ kind: 'bridge', name: 'lan', up: true })
  for (const [name, room] of [
    ['to-node', 'node'],
    ['to-far', 'far'],
  ] as const) {
    const peer = { name: 'uplink', netns: netnsOf(room) }
    await outside.links.add({ kind: 'veth', name, master: 'lan', up: true, peer })
  }
  for (const net of [node, far]) await net.links.set('uplink', { up: true })
  await node.links.add({ kind: 'bridge', name: 'cni0', up: true })
  for (const family of families) {
    const long = (net: Netlink, link: string, address: PerFamily, prefix: number): Promise<void> =>
      net.addresses.add(link, `${address[family]}/${prefix}`)
    const own = async (net: Netlink, addresses: readonly PerFamily[]): Promise<void> => {
      for (const address of addresses) await long(net, 'lo', address, width[family])
    }
    const lan = family === 'IPv4' ? 24 : 64
    await long(node, 'uplink', places.node.address, lan)
    await long(node, 'uplink', nodeSecond, width[family])
    await long(node, 'cni0', podGateway, lan)
    await long(far, 'uplink', places.other.address, lan)
    await long(outside, 'lan', router, lan)
    await own(far, [places.x.address, places.y.address])
    await far.routes.add({ destination: herdRange[family], type: 'local', link: 'lo' })
    await own(outside, [places.client.address, places.stranger.address, places.marked.address, ...crowd])
    const route = (net: Netlink, destination: string, via: PerFamily): Promise<void> =>
      net.routes.add({ destination, gateway: via[family] })
    await route(node, all[family], router)
    await route(far, all[family], router)
    for (const range of [ranges.farPods, herdRange]) {
      await route(node, range[family], places.other.address)
      await route(outside, range[family], places.other.address)
    }
    for (const range of ['herePods', 'services', 'externalIPs', 'vips'] as const) {
      await route(outside, ranges[range][family], places.node.address)
      await route(far, ranges[range][family], places.node.address)
    }
    if (family === 'IPv4') await route(outside, `${places.loopback.address[family]}/32`, places.node.address)
    for (const net of [outside, far]) await route(net, `${nodeSecond[family]}/${width[family]}`, places.node.address)
  }
  for (const name of ['a', 'b', 'c'] as const) await connectPod(node, netnsOf(name), name)
  for (const net of nets) await untilUp(net)
  const forward = { IPv4: 'ipv4/ip_forward', IPv6: 'ipv6/conf/all/forwarding' } as const
  for (const family of families) writeSysctl(`net/${forward[family]}`, 1, silentLogger, netnsOf('node'))
}

/** A pod knows nobody but the node: answers to its neighbours come back by it, too. */
async function connectPod(node: Netlink, netns: string, name: Place & Room): Promise<void> {
  using pod = openNetlink({ netns })
  await pod.links.set('lo', { up: true })
  const peer = { name: 'eth0', netns }
  await node.links.add({ kind: 'veth', name: `veth-${name}`, master: 'cni0', up: true, peer })
  // Where bridged frames pass the rules, a pod that comes to itself goes back out of its own port.
  await node.bridge.setPort(`veth-${name}`, { hairpin: true })
  await pod.links.set('eth0', { up: true })
  for (const family of families) {
    await pod.addresses.add('eth0', `${places[name].address[family]}/${width[family]}`)
    const gateway = podGateway[family]
    await pod.routes.add({ destination: `${gateway}/${width[family]}`, link: 'eth0' })
    await pod.routes.add({ destination: all[family], gateway, link: 'eth0' })
  }
}

async function untilUp(net: Netlink): Promise<void> {
  const limit = AbortSignal.timeout(10_000)
  for (const { index, name } of await net.links.list()) {
    if (name === 'lo') continue
    await net.links.untilOperational(index, limit)
    await net.addresses.untilSettled(index, limit)
  }
}
