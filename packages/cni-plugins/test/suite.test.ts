import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { openNetlink, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { afterEach, beforeEach, describe, test } from 'vitest'
import { cniVersions, standardPlugins } from '../src/index.ts'
import type { CniResult } from '../src/index.ts'
import { inProcess, pluginSuite, program } from '../src/testing/index.ts'
import type { PluginUnderTest } from '../src/testing/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { usePrograms } from './programs.ts'

const isGuest = Boolean(process.env['UML'])
const programs = usePrograms()
let machine: TestMachine

beforeEach(() => {
  machine = makeMachine({})
})
afterEach(() => machine[Symbol.dispose]())

const addressDir = (): string => join(machine.folder, 'addresses')
const tuningDir = (): string => join(machine.folder, 'tuning')
const ipam = (): object => ({
  type: 'host-local',
  ranges: [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/112' }]],
  routes: [{ dst: '0.0.0.0/0' }],
  dataDir: addressDir(),
})
/** Without IPv6, which takes its time to find addresses free. */
const ipam4 = (): object => ({ type: 'host-local', subnet: '10.77.0.0/24', dataDir: addressDir() })

interface Subject {
  /** Default: the plugin's. */
  name?: string
  config(): object
  /** It comes after others, and changes what these made. */
  isChained?: boolean
  /** It serves one pod at a time. */
  isExclusive?: boolean
  /** The oldest version that it speaks. */
  since?: string
  /** Not every kernel has it: what it does is tested in the guest, and nothing else there. */
  isOfGuest?: boolean
  /** As a program only: the rest has tests of its own. */
  isProgram?: boolean
}
const bridge = (): object => ({ type: 'bridge', bridge: 'br0', isGateway: true, ipMasq: true, ipam: ipam() })
const portmap = {
  type: 'portmap',
  runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] },
}
const bandwidth = {
  type: 'bandwidth',
  ingressRate: 8_000_000,
  ingressBurst: 800_000,
  runtimeConfig: { bandwidth: { egressRate: 1_000, egressBurst: 1_000 } },
  egressRate: 16_000_000,
  egressBurst: 1_600_000,
}
const tuning = (): object => ({
  type: 'tuning',
  sysctl: { 'net.ipv4.conf.IFNAME.arp_filter': '1' },
  mtu: 1400,
  promisc: true,
  dataDir: tuningDir(),
})
const addresses = [{ address: '10.77.0.9/24', gateway: '10.77.0.1' }, { address: 'fd77::9/64' }]
/** dhcp needs a server: it has a suite of its own. */
const subjects: Record<string, Subject[]> = {
  loopback: [{ config: () => ({ type: 'loopback' }) }],
  bridge: [
    { config: bridge },
    {
      name: 'bridge with nftables',
      config: () => ({ ...bridge(), ipMasqBackend: 'nftables', macspoofchk: true }),
      isProgram: true,
    },
  ],
  ptp: [{ config: () => ({ type: 'ptp', ipMasq: true, ipam: ipam4() }) }],
  macvlan: [{ config: () => ({ type: 'macvlan', master: 'up0', ipam: ipam4() }) }],
  ipvlan: [{ config: () => ({ type: 'ipvlan', master: 'up0', ipam: ipam4() }), isOfGuest: true }],
  // There is one of a VLAN on a master.
  vlan: [
    { config: () => ({ type: 'vlan', master: 'up0', vlanId: 7, ipam: ipam4() }), isExclusive: true, isOfGuest: true },
  ],
  dummy: [{ config: () => ({ type: 'dummy', ipam: ipam4() }), isOfGuest: true }],
  tap: [{ config: () => ({ type: 'tap', ipam: ipam4() }) }],
  'host-device': [{ config: () => ({ type: 'host-device', device: 'up0', ipam: ipam4() }), isExclusive: true }],
  'host-local': [{ config: () => ({ type: 'host-local', ipam: ipam() }) }],
  static: [{ config: () => ({ type: 'static', ipam: { type: 'static', addresses } }) }],
  portmap: [
    { config: () => portmap, isChained: true },
    {
      name: 'portmap with nftables',
      config: () => ({ ...portmap, backend: 'nftables' }),
      isChained: true,
      isProgram: true,
    },
  ],
  bandwidth: [{ config: () => bandwidth, isChained: true, since: '0.3.0' }],
  firewall: [
    {
      config: () => ({ type: 'firewall', backend: 'iptables', ingressPolicy: 'isolated' }),
      isChained: true,
      since: '0.4.0',
    },
  ],
  tuning: [{ config: tuning, isChained: true }],
  sbr: [{ config: () => ({ type: 'sbr' }), isChained: true }],
  vrf: [{ config: () => ({ type: 'vrf', vrfname: 'red' }), isChained: true, since: '0.3.1', isOfGuest: true }],
}
const prevResult: CniResult = {
  cniVersion: '1.1.0',
  interfaces: [{ name: 'eth0', sandbox: '/pod' }],
  ips: [
    { address: '10.77.0.2/24', gateway: '10.77.0.1', interface: 0 },
    { address: 'fd77::2/112', gateway: 'fd77::1', interface: 0 },
  ],
  routes: [],
  dns: {},
}

/** Links, rules, addresses and files of pods; what pods share stays. */
async function left(): Promise<string[]> {
  const links = machine.run(machine.host, 'ip', '-o', 'link').split('\n')
  // Plugins of the guest make no rules.
  const programsOfRules = isGuest ? [] : ['iptables-save', 'ip6tables-save']
  const rules = programsOfRules.flatMap((name) => machine.run(machine.host, name).split('\n'))
  const nft = isGuest ? [] : machine.run(machine.host, 'nft', 'list', 'ruleset').split('\n')
  const folders = [join(addressDir(), 'suite'), tuningDir()].filter((folder) => existsSync(folder))
  return [
    ...links.flatMap((line) => /^\d+: (?!br0:|port-)([^:@]+)/.exec(line)?.[1] ?? []),
    ...rules.filter((line) => /id: |CNI-DN|:CNI-[0-9a-f]{24}|-[sd] \S+\/(32|128) .*-j ACCEPT/.test(line)),
    ...nft.filter((line) => /suite-|dport/.test(line)),
    ...folders.flatMap((folder) => readdirSync(folder)).filter((name) => !/^(last_|lock$)/.test(name)),
  ].toSorted()
}

let pods = 0
function netns(): Disposable & { path: string } {
  const path = join(machine.folder, `pod-${(pods += 1)}`)
  pinNamespaces({ paths: { net: path } })
  return { path, [Symbol.dispose]: () => unpinNamespace(path) }
}

/** The same with what a plugin before would have made. */
async function netnsWithLink(): Promise<Disposable & { path: string }> {
  const pod = netns()
  using outside = openNetlink({ netns: machine.host })
  using inside = openNetlink({ netns: pod.path })
  await outside.links.add({ kind: 'veth', name: `port-${pods}`, up: true, peer: { name: 'eth0', netns: pod.path } })
  for (const { address } of prevResult.ips) await inside.addresses.add('eth0', { address, flags: { noDad: true } })
  await inside.links.set('eth0', { up: true })
  for (const { address, gateway = '' } of prevResult.ips) {
    await inside.routes.add({ destination: address.includes(':') ? '::/0' : '0.0.0.0/0', gateway, link: 'eth0' })
  }
  return pod
}

/** Programs start slowly, and the guest is slow: what they have in common is tested with few, the others only for what they do. */
const wholePrograms = new Set(['loopback', 'bridge', 'host-local'])
const isOfSlow = (name: string): boolean => /^(ADD and DEL work|CHECK is content|GC keeps)/.test(name)
const forms = standardPlugins.flatMap((plugin) =>
  (subjects[plugin.name] ?? []).flatMap(({ name = plugin.name, ...subject }) =>
    (['in this process', 'as a program'] as const)
      .filter((form) => (form === 'as a program' ? !isGuest && !subject.isOfGuest : !subject.isProgram))
      .filter(() => !isGuest || subject.isOfGuest)
      .map((form) => ({ plugin, name, form, isWhole: form !== 'as a program' || wholePrograms.has(name), ...subject })),
  ),
)

describe.each(forms)(
  '$name $form',
  ({ plugin, form, config, isChained, isExclusive, since = '0.1.0', isOfGuest, isWhole }) => {
    const subject = (): PluginUnderTest => {
      const hostNetns = machine.host
      const versions = cniVersions.slice(cniVersions.findIndex((version) => version === since))
      return {
        run:
          form === 'as a program'
            ? program(join(programs().folder, plugin.name), { hostNetns })
            : inProcess(plugin, { hostNetns, addressDir: addressDir() }),
        config: { type: plugin.name, ...config() },
        versions: isWhole && !isGuest ? versions : [versions[0] ?? since, '1.1.0'],
        hostNetns,
        netns: isChained ? netnsWithLink : netns,
        cniPath: programs().folder,
        ...(isExclusive && { isExclusive }),
        ...(isChained && { prevResult }),
        left,
      }
    }
    beforeEach(async () => {
      if (!JSON.stringify(config()).includes('"up0"')) return
      using outside = openNetlink({ netns: machine.host })
      await outside.links.add({ kind: 'veth', name: 'up0', up: true, peer: { name: 'up1' } })
      await outside.links.set('up1', { up: true })
    })
    for (const { name, part, run } of pluginSuite(subject)) {
      const isHere = part === 'protocol' ? !isGuest && isWhole : isGuest === Boolean(isOfGuest)
      if (isHere && ((isWhole && !isGuest) || isOfSlow(name))) test(name, run)
    }
  },
)
