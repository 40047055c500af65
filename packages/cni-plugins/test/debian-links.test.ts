// Peers: Debian's reference plugins and ours make the same of the same configuration, and each takes the other's away.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { links, listOf, podNetwork, shown } from './reach.ts'

const debian = '/usr/lib/cni'

interface ShownLink {
  ifname: string
  mtu: number
  flags: string[]
  ifalias?: string
  linkinfo?: { info_kind: string; info_data?: { mode?: string } }
  addr_info: { family: string; local: string; prefixlen: number; scope: string; broadcast?: string }[]
}
interface ShownRoute {
  dst: string
  gateway?: string
  dev: string
  protocol: string
  scope: string
  prefsrc?: string
  metric?: number
}

const isOwn = ({ ifname }: ShownLink): boolean => /^(eth|veth|up)/.test(ifname)
/** Names that are chosen at random are one. */
const named = (name: string): string => name.replace(/^veth[0-9a-f]{8}$/, 'vethRANDOM')

/** All that tells: links, addresses, routes, sysctls. Debian's are of a time before those of IPv6. */
function stateOf(machine: TestMachine, netns: string): object {
  const found = shown<ShownLink>(machine, netns, 'addr').filter(isOwn)
  const routes = ['-4', '-6'].flatMap((family) => shown<ShownRoute>(machine, netns, family, 'route'))
  const read = (name: string): string =>
    machine.run(netns, 'sh', '-c', `cat /proc/sys/net/${name} 2>/dev/null || true`).trim()
  return {
    links: found.map(({ ifname, mtu, flags, ifalias, linkinfo, addr_info }) => ({
      name: named(ifname),
      mtu,
      flags: flags.toSorted(),
      ifalias,
      kind: linkinfo?.info_kind,
      mode: linkinfo?.info_data?.mode,
      addresses: addr_info
        .filter(({ scope }) => scope !== 'link')
        .map(({ family, local, prefixlen, scope, broadcast }) => ({ family, local, prefixlen, scope, broadcast })),
    })),
    routes: routes
      .filter(({ dst }) => !dst.startsWith('fe80'))
      .map(({ dst, gateway, dev, protocol, scope, prefsrc, metric }) => {
        return { dst, gateway, dev: named(dev), protocol, scope, prefsrc, metric }
      })
      .toSorted((one, two) => JSON.stringify(one).localeCompare(JSON.stringify(two))),
    sysctls: ['ipv4/conf/eth0/arp_notify', 'ipv4/ip_forward', 'ipv6/conf/all/forwarding'].map(read),
  }
}

/** A machine whose eth0 leads somewhere, with a default route, and a spare link. */
function makeFurnished(plugin: object): TestMachine {
  const machine = makeMachine({})
  const dataDir = join(machine.folder, 'addresses')
  const routes = [{ dst: '0.0.0.0/0' }, { dst: '10.9.0.0/16', gw: '10.77.0.5' }]
  const ranges = [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/112' }]]
  const list = listOf({ ...plugin, ipam: { type: 'host-local', dataDir, ranges, routes } })
  const { host, run } = machine
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify({ ...list, cniVersion: '1.0.0' }))
  for (const [name, peer] of [
    ['eth0', 'up1'],
    ['up2', 'up3'],
  ] as const)
    run(host, 'sh', '-c', `ip link add name ${name} mtu 1450 type veth peer name ${peer}`)
  for (const name of ['eth0', 'up1', 'up2', 'up3']) run(host, 'ip', 'link', 'set', name, 'up')
  run(host, 'ip', 'addr', 'add', '192.0.2.2/24', 'dev', 'eth0')
  run(host, 'ip', 'route', 'add', 'default', 'via', '192.0.2.1')
  return machine
}

test.each([
  [{ type: 'ptp', ipMasq: true, mtu: 1400 }],
  [{ type: 'macvlan' }],
  [{ type: 'macvlan', master: 'up2', mode: 'private', mtu: 1400 }],
  [{ type: 'host-device', device: 'up2' }],
])('%j', { timeout: 60_000 }, async (plugin) => {
  using ours = makeFurnished(plugin)
  using theirs = makeFurnished(plugin)
  const machines = [ours, theirs]
  const cnis = [ours.open(), theirs.open({ plugins: [], binDirs: [debian] })]
  const pods = machines.map((machine) => podNetwork(machine, 'one'))
  const results = []
  for (const [at, cni] of cnis.entries()) results.push(await cni.add(pods[at] ?? podNetwork(ours, 'none')))
  const [mine, other] = results.map((result) =>
    JSON.stringify(result)
      .replaceAll(/([0-9a-f]{2}:){5}[0-9a-f]{2}/g, 'MAC')
      .replaceAll(/veth[0-9a-f]{8}/g, 'vethRANDOM')
      .replaceAll(/"sandbox":"[^"]*"/g, 'sandbox'),
  )
  expect(mine).toBe(other)
  const [one, two] = machines.map((machine, at) =>
    [machine.host, pods[at]?.netns ?? ''].map((netns) => stateOf(machine, netns)),
  )
  expect(one).toEqual(two)

  // Each has the other's to check and to take away.
  const swapped = [ours.open({ plugins: [], binDirs: [debian] }), theirs.open()]
  for (const [at, cni] of swapped.entries()) {
    const pod = pods[at] ?? podNetwork(ours, 'none')
    await cni.check(pod)
    await cni.del(pod)
  }
  const ends = machines.map((machine, at) => [links(machine, machine.host), links(machine, pods[at]?.netns ?? '')])
  expect(ends[0]).toEqual([['eth0', 'up1', 'up2', 'up3'], []])
  expect(ends[0]).toEqual(ends[1])
})
