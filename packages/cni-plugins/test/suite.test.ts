import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { openNetlink, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { afterEach, beforeEach, describe, test } from 'vitest'
import { cniVersions, standardPlugins } from '../src/index.ts'
import type { CniResult, PluginConfig } from '../src/index.ts'
import { inProcess, pluginSuite, program } from '../src/testing/index.ts'
import type { PluginUnderTest } from '../src/testing/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { usePrograms } from './programs.ts'

const programs = usePrograms()
let machine: TestMachine

beforeEach(() => {
  machine = makeMachine({})
})
afterEach(() => machine[Symbol.dispose]())

const addressDir = (): string => join(machine.folder, 'addresses')
const ipam = (): object => ({
  type: 'host-local',
  ranges: [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/112' }]],
  routes: [{ dst: '0.0.0.0/0' }],
  dataDir: addressDir(),
})
const configs: Record<string, () => PluginConfig> = {
  loopback: () => ({ type: 'loopback' }),
  bridge: () => ({ type: 'bridge', bridge: 'br0', isGateway: true, ipMasq: true, ipam: ipam() }),
  'host-local': () => ({ type: 'host-local', ipam: ipam() }),
  static: () => ({
    type: 'static',
    ipam: { type: 'static', addresses: [{ address: '10.77.0.9/24', gateway: '10.77.0.1' }, { address: 'fd77::9/64' }] },
  }),
  portmap: () => ({
    type: 'portmap',
    runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] },
  }),
  bandwidth: () => ({
    type: 'bandwidth',
    ingressRate: 8_000_000,
    ingressBurst: 800_000,
    runtimeConfig: { bandwidth: { egressRate: 1_000, egressBurst: 1_000 } },
    egressRate: 16_000_000,
    egressBurst: 1_600_000,
  }),
}
/** Plugins that come after others, and change what these made. */
const chained = new Set(['portmap', 'bandwidth'])
const youngest: Record<string, string> = { bandwidth: '0.3.0' }
/** The same plugins with rules of nftables. */
const inNftables: Record<string, object> = {
  bridge: { ipMasqBackend: 'nftables', macspoofchk: true },
  portmap: { backend: 'nftables' },
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

/** Links, rules and addresses of pods; what pods share stays. */
async function left(): Promise<string[]> {
  const links = machine.run(machine.host, 'ip', '-o', 'link').split('\n')
  const rules = ['iptables-save', 'ip6tables-save'].flatMap((name) =>
    machine.run(machine.host, name, '-t', 'nat').split('\n'),
  )
  const files = readdirSync(machine.folder).includes('addresses') ? readdirSync(join(addressDir(), 'suite')) : []
  return [
    ...links.flatMap((line) => /(veth|bwp)\w+/.exec(line)?.[0] ?? []),
    ...rules.filter((line) => /id: |CNI-DN|:CNI-[0-9a-f]{24}/.test(line)),
    ...machine
      .run(machine.host, 'nft', 'list', 'ruleset')
      .split('\n')
      .filter((line) => /suite-|dport/.test(line)),
    ...files.filter((name) => !name.startsWith('last_')),
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

// dhcp needs a server: it has a suite of its own.
const tested = standardPlugins.filter(({ name }) => name !== 'dhcp')
const variants = tested.flatMap((plugin) => {
  const more = inNftables[plugin.name]
  return [
    { plugin, name: plugin.name, more: {} },
    ...(more ? [{ plugin, name: `${plugin.name} with nftables`, more }] : []),
  ]
})
const forms = variants.flatMap((variant) => [
  // Rules of nftables from this process have tests of their own.
  ...(variant.name === variant.plugin.name ? [{ ...variant, form: 'in this process' }] : []),
  { ...variant, form: 'as a program' },
])

describe.each(forms)('$name $form', ({ plugin, form, more }) => {
  const subject = (): PluginUnderTest => {
    const hostNetns = machine.host
    return {
      run:
        form === 'as a program'
          ? program(join(programs().folder, plugin.name), { hostNetns })
          : inProcess(plugin, { hostNetns, addressDir: addressDir() }),
      config: { type: '', ...configs[plugin.name]?.(), ...more },
      versions: cniVersions.slice(cniVersions.findIndex((version) => version === (youngest[plugin.name] ?? '0.1.0'))),
      hostNetns,
      netns: chained.has(plugin.name) ? netnsWithLink : netns,
      cniPath: programs().folder,
      ...(chained.has(plugin.name) && { prevResult }),
      left,
    }
  }
  for (const { name, run } of pluginSuite(subject)) test(name, run)
})
