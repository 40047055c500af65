// Whatever a plugin's configuration says, and the files and programs that it reads, it is understood, or refused by a CniError.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { addressBytes } from '@nodelet/linux'
import { wantedMac } from '../src/interface/mac.ts'
import { chainsIn, removalOf } from '../src/iptables.ts'
import { containersOf } from '../src/names.ts'
import { nftRules } from '../src/nftables.ts'
import { parseBandwidth } from '../src/plugins/bandwidth/config.ts'
import { shape } from '../src/plugins/bandwidth/shape.ts'
import { parseBridge } from '../src/plugins/bridge/config.ts'
import { spoofRemovalOfAll } from '../src/plugins/bridge/spoof-check.ts'
import { parseDhcp, providedOptions } from '../src/plugins/dhcp/config.ts'
import { parseAnswer, parseQuestion } from '../src/plugins/dhcp/remote.ts'
import { pathOf } from '../src/plugins/firewall/bus.ts'
import { decodeAnswer, encodeCall, lengthOf } from '../src/plugins/firewall/dbus-message.ts'
import { parseFirewall } from '../src/plugins/firewall/config.ts'
import { removalOfOthers } from '../src/plugins/firewall/rules.ts'
import { parseHostDevice } from '../src/plugins/host-device/config.ts'
import { parseHostLocal } from '../src/plugins/host-local/config.ts'
import { parseResolvConf } from '../src/plugins/host-local/resolv-conf.ts'
import { parsePortmap } from '../src/plugins/portmap/config.ts'
import type { PortmapConfig } from '../src/plugins/portmap/config.ts'
import { nftPortmapRules } from '../src/plugins/portmap/nft-rules.ts'
import { portmapRules } from '../src/plugins/portmap/rules.ts'
import { parseSbr } from '../src/plugins/sbr/config.ts'
import { addressesOf, parseStatic } from '../src/plugins/static/config.ts'
import { standardPlugins } from '../src/plugins/standard-plugins.ts'
import { readBackup } from '../src/plugins/tuning/backup.ts'
import { parseAllowList, parseTuning, sysctlFiles } from '../src/plugins/tuning/config.ts'
import type { Host, RequestConfig } from '../src/types.ts'
import { anyText, anyValue, isRobust, jsonOf, mutated } from './fuzz.ts'
/** Configurations with all keys of each plugin, as good as they can be. */
const ipam = { type: 'host-local', subnet: '10.1.0.0/16' }
const routes = [{ dst: '0.0.0.0/0', gw: '10.1.0.1', mtu: 1400, advmss: 1300, priority: 7, table: 8, scope: 0 }]
const link = { mtu: 1400, ipam, dns: { nameservers: ['10.0.0.3'], search: null } }
const onMaster = { ...link, master: 'eth0', linkInContainer: true }
const named = {
  cni: { ips: ['10.1.0.5/16'], mac: '02:00:00:00:00:01', mtu: 1300, sysctl: { 'net.core.somaxconn': '5' } },
}
const good: Record<string, object> = {
  loopback: {},
  bridge: {
    ...link,
    bridge: 'br0',
    vlan: 7,
    vlanTrunk: [{ id: 5 }, { minID: 7, maxID: 9 }],
    ipMasqBackend: 'iptables',
  },
  ptp: { ...link, ipMasq: true },
  macvlan: { ...onMaster, mode: 'vepa', bcqueuelen: 7 },
  ipvlan: { ...onMaster, mode: 'l3' },
  vlan: { ...onMaster, vlanId: 9 },
  dummy: link,
  tap: { ...link, multiQueue: true, owner: 1, group: 2, selinuxContext: 'x', bridge: 'br1' },
  'host-device': {
    device: 'eth1',
    hwaddr: '02:00:00:00:00:01',
    kernelpath: '/sys/devices/x',
    runtimeConfig: { deviceID: '0000:00:1f.6' },
  },
  'host-local': {
    ipam: {
      ranges: [
        [{ subnet: '10.1.0.0/16', rangeStart: '10.1.0.9', rangeEnd: '10.1.0.20', gateway: '10.1.0.1' }],
        [{ subnet: 'fd00::/64' }],
      ],
      routes,
      dataDir: '/d',
      resolvConf: '/r',
    },
    args: named,
    runtimeConfig: { ipRanges: [[{ subnet: '10.2.0.0/24' }]], ips: ['10.1.0.4'] },
  },
  static: {
    ipam: { addresses: [{ address: '10.1.0.2/16', gateway: '10.1.0.1' }], routes, dns: { search: ['x'] } },
    args: named,
  },
  dhcp: {
    ipam: {
      daemonSocketPath: '/s',
      priority: 7,
      provide: [{ option: 'host-name', value: 'x', fromArg: 'K8S_POD_NAME' }, { option: '12' }],
      request: [{ option: 'routers', skipDefault: true }],
    },
  },
  portmap: {
    backend: 'iptables',
    markMasqBit: 5,
    conditionsV4: ['-s', '10.0.0.0/8'],
    runtimeConfig: { portMappings: [{ hostPort: 8081, containerPort: 80, protocol: 'TCP', hostIP: '10.0.0.1' }] },
  },
  bandwidth: {
    ingressRate: 8000,
    ingressBurst: 8000,
    runtimeConfig: { bandwidth: { egressRate: 9000, egressBurst: 9000 } },
  },
  firewall: { backend: 'iptables', iptablesAdminChainName: 'X', firewalldZone: 'z', ingressPolicy: 'same-bridge' },
  tuning: {
    sysctl: { 'net.ipv4.conf.IFNAME.arp_filter': '1' },
    mtu: 1400,
    promisc: true,
    allmulti: true,
    txQLen: 9,
    dataDir: '/d',
    args: named,
  },
  sbr: { table: 7, gateways: ['10.1.0.1', 'fd00::1'], addSourceHints: true },
  vrf: { vrfname: 'blue', table: 9 },
}
const configs = (config: object): fc.Arbitrary<RequestConfig> =>
  fc
    .oneof(mutated(config), anyValue)
    .map((value) => ({ ...(value as object), name: 'n', type: 't', cniVersion: '1.1.0' }))

// Plugins that keep their parser to themselves are asked by GC, which has nothing to do but to ask for addresses.
const host = {
  addressDir: '/nowhere',
  log: { warn: () => undefined },
  changeRules: () => undefined,
  plugin: () => ({ gc: async () => undefined }),
} as unknown as Host
const byGc =
  (name: string) =>
  async (config: RequestConfig): Promise<void> =>
    standardPlugins.find((one) => one.name === name)?.gc(config, [], host, new AbortController().signal)
const parsers: Record<string, (config: RequestConfig) => unknown> = {
  bridge: parseBridge,
  'host-device': parseHostDevice,
  'host-local': parseHostLocal,
  static: (config) => addressesOf(parseStatic(config), {}, '1.0.0'),
  dhcp: (config) => providedOptions(parseDhcp(config), {}),
  // What is made of it must be right, too.
  portmap: (config) => rulesOf(parsePortmap(config)),
  bandwidth: (config) => Object.values(parseBandwidth(config)).map(shape),
  firewall: parseFirewall,
  tuning: (config) => sysctlFiles(parseTuning(config), 'eth0'),
  sbr: (config) => Object.values(parseSbr(config).gateways).map(addressBytes),
}
const rulesOf = ({ conditions, ...config }: PortmapConfig): void => {
  for (const family of [4, 6] as const) {
    const podAddress = family === 4 ? '10.0.0.2/24' : 'fd00::2/64'
    const options = { ...config, family, podAddress, network: 'n', containerId: 'c', conditions: conditions[family] }
    for (const line of [...portmapRules(options, []), ...nftPortmapRules(options)]) expect(line).not.toMatch(/[\n\0]/)
  }
}

describe('the configuration of', () => {
  test.each(standardPlugins.map(({ name }) => name))('%s', async (name) => {
    const parse = parsers[name] ?? byGc(name)
    const config = good[name] ?? expect.unreachable(`there is no configuration for ${name}`)
    await parse({ ...config, name: 'n', type: name, cniVersion: '1.1.0' })
    await isRobust(configs(config), parse)
  })

  test('a MAC', async () => {
    const config = { mac: '02:00:00:00:00:01', runtimeConfig: { mac: '' }, args: named }
    const args = fc.oneof(fc.constant({}), fc.record({ MAC: anyText }))
    await isRobust(
      fc.tuple(configs(config), args),
      ([wanted, own]) => {
        const network = { containerId: 'c', ifName: 'eth0', netns: '', args: own }
        expect(wantedMac('macvlan', { config: wanted, network }) ?? '02:00:00:00:00:01').toMatch(/^(..:){5}..$/)
      },
      /^macvlan: (CNI_ARGS: MAC|mac|runtimeConfig|args)/,
    )
  })
})

describe('files', () => {
  test('resolv.conf', async () => {
    const lines = fc.array(fc.tuple(fc.constantFrom('nameserver', 'search', 'domain', 'options', ''), anyText))
    const text = lines.map((all) => all.map((line) => line.join(' ')).join('\n'))
    await isRobust(fc.oneof(anyText, text), (content) => {
      for (const value of Object.values(parseResolvConf(content))) expect(String(value)).not.toContain('\n')
    })
  })

  test('the list of sysctls that are allowed', async () => {
    await isRobust(
      fc.oneof(anyText, fc.stringMatching(/^[\^$.()[\]*+?\\a-z\n]{0,20}$/)),
      parseAllowList,
      /^tuning: allowlist\.conf: /,
    )
  })

  test('what a link was like before', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'nodelet-fuzz-'))
    try {
      const content = { mac: '02:00:00:00:00:01', promisc: false, mtu: 1500, allmulti: true, txQLen: 5, network: 'n' }
      const key = { containerId: 'c', ifName: 'eth0' }
      await isRobust(fc.oneof(anyText, mutated(content).map(jsonOf)), (text) => {
        writeFileSync(join(folder, 'c_eth0.json'), text)
        const { mac, mtu = 0, txQLen = 0 } = readBackup(folder, key) ?? {}
        for (const number of [mtu, txQLen]) expect(number).toBe(Math.trunc(number) >>> 0)
        if (mac !== undefined) expect(mac).toMatch(/^(..:)+..$/)
      })
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('tables of rules', () => {
  const savedIptables = [
    '*filter',
    ':CNI-FORWARD - [0:0]',
    ':CNI-FORWARD-OWNERS - [0:0]',
    '-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD',
    '-A CNI-FORWARD -s 10.0.0.2/32 -j ACCEPT',
    '-A CNI-FORWARD-OWNERS -s 10.0.0.2/32 -m comment --comment "name: \\"n\\" id: \\"c\\" if: \\"eth0\\""',
    '-A POSTROUTING -s 10.0.0.2/32 -m comment --comment "name: \\"n\\" id: \\"c\\"" -j CNI-0123456789abcdef01234567',
  ]
  const savedNft = [
    'table bridge nat { # handle 1',
    '\tchain PREROUTING { # handle 1',
    '\t\ttype filter hook prerouting priority -300; policy accept;',
    '\t\tiifname "veth0" jump cni-br-iface-c-eth0 comment "macspoofchk-c-eth0" # handle 4',
    '\tchain cni-br-iface-c-eth0 { # handle 2',
    '\t\tether saddr 02:00:00:00:00:01 return # handle 7',
  ]
  const lines = (all: readonly string[]): fc.Arbitrary<string[]> => {
    const cut = fc
      .tuple(fc.constantFrom(...all), fc.nat(80), anyText)
      .map(([line, at, more]) => line.slice(0, at) + more)
    return fc.array(fc.oneof(fc.constantFrom(...all), cut, anyText)).map((some) => some.join('\n').split('\n'))
  }
  const isWhole = (commands: readonly string[]): void => {
    for (const command of commands) expect(command).not.toContain('\n')
  }

  test('as iptables prints them', async () => {
    await isRobust(lines(savedIptables), (saved) => {
      containersOf(saved, 'n')
      isWhole(removalOf(saved, [...chainsIn(saved), 'CNI-FORWARD']))
      isWhole(removalOfOthers('n', [], saved))
    })
  })

  test('as nft prints them', async () => {
    await isRobust(lines(savedNft), (saved) => {
      for (const { handle } of nftRules(saved)) expect(handle).toMatch(/^\d+$/)
      isWhole(spoofRemovalOfAll(saved))
    })
  })

  test('a long line is read in no time', () => {
    const long = ' comment "'.repeat(20_000)
    const began = performance.now()
    nftRules([`\t\t${long}`])
    containersOf([`--comment "name: ${'name: '.repeat(20_000)}`], 'n')
    removalOf([`-A ${'-j '.repeat(20_000)}`], ['x'])
    expect(performance.now() - began).toBeLessThan(10_000)
  })
})

describe('other programs', () => {
  const lease = {
    address: '10.0.0.9/24',
    gateway: '10.0.0.1',
    routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1', scope: 0, priority: 1 }],
    server: { address: '10.0.0.1', mac: '02:00:00:00:00:01' },
    renewMs: 1,
    rebindMs: null,
    expireMs: 3,
  }
  const params = {
    network: 'n',
    containerId: 'c',
    ifName: 'eth0',
    netns: '/n',
    provide: [{ code: 12, value: 'x' }],
    request: [3],
  }
  const lines = (content: object): fc.Arbitrary<string> => fc.oneof(anyText, mutated(content).map(jsonOf))

  test('who asks the DHCP daemon', async () => {
    expect(parseQuestion(jsonOf({ method: 'allocate', params }))).toEqual({ method: 'allocate', params })
    await isRobust(lines({ method: 'allocate', params }), parseQuestion, /^question: /)
  })
  test('the DHCP daemon', async () => {
    expect(parseAnswer('d', jsonOf({ lease }))).toEqual({ lease })
    await isRobust(lines({ lease }), (line) => parseAnswer('the daemon at /s', line), /^the daemon at \/s: /)
  })

  test('the bus of firewalld: an answer, none, or a RangeError', () => {
    const call = encodeCall(7, { destination: 'd', path: '/p', interface: 'i', member: 'm', args: ['a'] })
    const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array))
    const flipped = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 5 }).map((changes) => {
      const copy = Buffer.from(call)
      copy[1] = 2 // an answer
      for (const [at, byte] of changes) copy[at % copy.length] = byte
      return copy
    })
    fc.assert(
      fc.property(fc.oneof(bytes, flipped), (message) => {
        try {
          const length = lengthOf(message)
          if (length !== undefined) expect(length).toBeGreaterThanOrEqual(16)
          expect(typeof (decodeAnswer(message)?.serial ?? 0)).toBe('number')
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError)
        }
      }),
      { numRuns: 1_000 },
    )
  })
  test('the address of the bus', async () => {
    await isRobust(
      fc.oneof(
        anyText,
        anyText.map((text) => `unix:path=${text}`),
      ),
      pathOf,
    )
    expect(pathOf('unix:path=/run/%zz')).toBeUndefined()
  })
})

test.each<[plugin: string, config: object, message: string]>([
  ['bandwidth', { ingressRate: 8.5, ingressBurst: 8 }, 'bandwidth: ingressRate: '],
  ['sbr', { gateways: ['fe80::1%eth0'] }, 'sbr: gateways.0: invalid IP address: fe80::1%eth0'],
  ['vlan', { master: 'eth0', ipam, mtu: 2 ** 32 }, 'vlan: mtu: '],
  ['dummy', { ipam: { type: '../../bin/sh' } }, 'dummy: ipam.type: must name a plugin, not "../../bin/sh"'],
  ['vrf', { vrfname: 'a\0' }, 'vrf: vrfname: must be a link name'],
  ['bridge', { bridge: 'é'.repeat(8) }, 'bridge: bridge: must be a link name'],
  ['tuning', { sysctl: { 'net.a\0': '1' } }, 'tuning: sysctl: invalid net sysctl key'],
  ['host-local', { ipam: { subnet: 'x/8' } }, 'host-local: not an IP address: "x"'],
])('found in %s: %j', async (name, config, message) => {
  const parse = async (): Promise<unknown> =>
    (parsers[name] ?? byGc(name))({ ...config, name: 'n', type: name, cniVersion: '1.1.0' })
  await expect(parse()).rejects.toThrow(message)
})
