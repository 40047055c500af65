// A KubeProxyConfiguration: its defaults, its flags, and how what is wrong in it is told.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import {
  deprecations,
  idleProxySettings,
  nodeIPsOf,
  parseKubeProxyConfiguration,
  proxierOptionsOf,
  proxyFlags,
} from '@nodelet/proxy-rules'
import { expect, test } from 'vitest'
import { parse as parseYaml } from 'yaml'
import { durationMs, durationText } from '../../src/configuration/duration.ts'

const parse = (input: unknown, flags = {}) => parseKubeProxyConfiguration(input, 'proxy.yaml', flags)

/** The reference's table of defaults. */
const defaults = {
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  featureGates: {},
  clientConnection: {
    kubeconfig: '',
    acceptContentTypes: '',
    contentType: 'application/vnd.kubernetes.protobuf',
    qps: 5,
    burst: 10,
  },
  hostnameOverride: '',
  configSyncPeriod: '15m',
  logging: {
    format: 'text',
    flushFrequency: '5s',
    verbosity: 0,
    vmodule: [],
    options: {
      text: { splitStream: false, infoBufferSize: '0' },
      json: { splitStream: false, infoBufferSize: '0' },
    },
  },
  bindAddress: '0.0.0.0',
  healthzBindAddress: '0.0.0.0:10256',
  metricsBindAddress: '127.0.0.1:10249',
  bindAddressHardFail: false,
  enableProfiling: false,
  showHiddenMetricsForVersion: '',
  mode: '',
  iptables: {
    masqueradeBit: 14,
    masqueradeAll: false,
    localhostNodePorts: true,
    syncPeriod: '30s',
    minSyncPeriod: '1s',
  },
  ipvs: {
    syncPeriod: '30s',
    minSyncPeriod: '0s',
    scheduler: '',
    excludeCIDRs: [],
    strictARP: false,
    tcpTimeout: '0s',
    tcpFinTimeout: '0s',
    udpTimeout: '0s',
  },
  nftables: { masqueradeBit: 14, masqueradeAll: false, syncPeriod: '30s', minSyncPeriod: '1s' },
  detectLocalMode: '',
  detectLocal: { bridgeInterface: '', interfaceNamePrefix: '' },
  clusterCIDR: '',
  nodePortAddresses: [],
  oomScoreAdj: -999,
  conntrack: {
    maxPerCore: 32_768,
    min: 131_072,
    tcpEstablishedTimeout: '24h',
    tcpCloseWaitTimeout: '1h',
    tcpBeLiberal: false,
    udpTimeout: '0s',
    udpStreamTimeout: '0s',
  },
  winkernel: {
    networkName: '',
    sourceVip: '',
    enableDSR: false,
    rootHnsEndpointName: '',
    forwardHealthCheckVip: false,
  },
  portRange: '',
  windowsRunAsService: false,
}

test('an empty one, or none, is completed with the defaults of the Go proxy', () => {
  expect(parse({})).toEqual(defaults)
  expect(parse(null)).toEqual(defaults)
  expect(parse(parse({}))).toEqual(defaults)
})

test('what kubeadm writes, full of nulls and zeros, means the defaults', () => {
  const file = readFileSync(join(import.meta.dirname, 'kubeadm.yaml'), 'utf8')
  const { clientConnection, ...rest } = defaults
  expect(parse(parseYaml(file))).toEqual({
    ...rest,
    clusterCIDR: '10.244.0.0/16',
    clientConnection: { ...clientConnection, kubeconfig: '/var/lib/kube-proxy/kubeconfig.conf' },
  })
})

test.each([
  [{ bindAddress: '::' }, { healthzBindAddress: '[::]:10256', metricsBindAddress: '[::1]:10249' }],
  [{ healthzBindAddress: '10.0.0.1' }, { healthzBindAddress: '10.0.0.1:10256' }],
  [{ metricsBindAddress: 'fd00::1' }, { metricsBindAddress: '[fd00::1]:10249' }],
  [
    { conntrack: { maxPerCore: 0, tcpEstablishedTimeout: '0s' } },
    {
      conntrack: { ...defaults.conntrack, maxPerCore: 0, tcpEstablishedTimeout: '0s' },
    },
  ],
  [{ logging: { flushFrequency: 5_000_000_000 } }, { logging: { ...defaults.logging, flushFrequency: 5_000_000_000 } }],
  [
    { oomScoreAdj: 0, iptables: { masqueradeBit: 0 } },
    {
      oomScoreAdj: 0,
      iptables: { ...defaults.iptables, masqueradeBit: 0 },
    },
  ],
])('%j is completed', (input, expected) => expect(parse(input)).toMatchObject(expected))

const cidr = 'must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)'
const pair = 'must be a either a single CIDR or dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]'
const atLeastZero = 'must be greater than or equal to 0'

test.each<[input: object, message: string]>([
  [{ iptable: {} }, '(top): Unrecognized key: "iptable"'],
  [{ iptables: { syncperiod: '1s' } }, 'iptables: Unrecognized key: "syncperiod"'],
  [{ udpIdleTimeout: '0s' }, '(top): Unrecognized key: "udpIdleTimeout"'],
  [{ apiVersion: 'v1' }, 'apiVersion "v1": Invalid input: expected "kubeproxy.config.k8s.io/v1alpha1"'],
  [{ bindAddressHardFail: 'yes' }, 'bindAddressHardFail "yes": Invalid input: expected boolean, received string'],
  [{ oomScoreAdj: 1.5 }, 'oomScoreAdj 1.5: Invalid input: expected int, received number'],
  [{ nodePortAddresses: [7] }, 'nodePortAddresses[0] 7: Invalid input: expected string, received number'],
  [{ configSyncPeriod: 15 }, 'configSyncPeriod 15: Invalid input: expected string, received number'],
  [{ configSyncPeriod: 'soon' }, 'configSyncPeriod "soon": is not a duration; write for instance 90s or 1m30s'],
  [
    { logging: { options: { json: { infoBufferSize: 'big' } } } },
    'logging.options.json.infoBufferSize "big": is not a quantity; write for instance 500 or 64Ki',
  ],
  [
    { featureGates: { NFTablesProxyMode: false } },
    'featureGates: Invalid value: "{\\"NFTablesProxyMode\\":false}": cannot set feature gate NFTablesProxyMode to false, feature is locked to true',
  ],
  [{ iptables: { masqueradeBit: 32 } }, 'iptables.masqueradeBit: Invalid value: 32: must be within the range [0, 31]'],
  [
    { mode: 'nftables', nftables: { masqueradeBit: -1 } },
    'nftables.masqueradeBit: Invalid value: -1: must be within the range [0, 31]',
  ],
  [
    { iptables: { syncPeriod: '-1s', minSyncPeriod: '-2s' } },
    `iptables.syncPeriod: Invalid value: "-1s": must be greater than 0; iptables.minSyncPeriod: Invalid value: "-2s": ${atLeastZero}`,
  ],
  [
    { mode: 'nftables', nftables: { syncPeriod: '1s', minSyncPeriod: '1m' } },
    'nftables.syncPeriod: Invalid value: "1s": must be greater than or equal to nftables.minSyncPeriod "1m"',
  ],
  [
    { mode: 'userspace' },
    'mode: Invalid value: "userspace": must be iptables, ipvs, nftables or blank (blank means the best-available proxy [currently iptables])',
  ],
  ...(['tcpTimeout', 'tcpFinTimeout', 'udpTimeout'] as const).map((field): [object, string] => [
    { mode: 'ipvs', ipvs: { [field]: '-1s' } },
    `ipvs.${field}: Invalid value: "-1s": ${atLeastZero}`,
  ]),
  [
    { mode: 'ipvs', ipvs: { excludeCIDRs: ['10.0.0.0/8', '1'] } },
    'ipvs.excludeCIDRs[1]: Invalid value: "1": must be a valid CIDR',
  ],
  ...(['maxPerCore', 'min'] as const).map((field): [object, string] => [
    { conntrack: { [field]: -1 } },
    `conntrack.${field}: Invalid value: -1: ${atLeastZero}`,
  ]),
  ...(['tcpEstablishedTimeout', 'tcpCloseWaitTimeout', 'udpTimeout', 'udpStreamTimeout'] as const).map(
    (field): [object, string] => [
      { conntrack: { [field]: '-1m' } },
      `conntrack.${field}: Invalid value: "-1m": ${atLeastZero}`,
    ],
  ),
  [{ oomScoreAdj: -1001 }, 'oomScoreAdj: Invalid value: -1001: must be within the range [-1000, 1000]'],
  [{ clientConnection: { burst: -1 } }, `clientConnection.burst: Invalid value: -1: ${atLeastZero}`],
  [{ configSyncPeriod: '-1s' }, 'configSyncPeriod: Invalid value: "-1s": must be greater than 0'],
  [{ bindAddress: 'eth0' }, 'bindAddress: Invalid value: "eth0": not a valid textual representation of an IP address'],
  [{ healthzBindAddress: 'here' }, 'healthzBindAddress: Invalid value: "here": must be IP:port'],
  [{ healthzBindAddress: '1.2.3.4:0' }, 'healthzBindAddress: Invalid value: "0": must be a valid port'],
  [
    { metricsBindAddress: 'localhost:http' },
    'metricsBindAddress: Invalid value: "localhost": must be a valid IP; metricsBindAddress: Invalid value: "http": must be a valid port',
  ],
  [{ metricsBindAddress: '[::1]:70000' }, 'metricsBindAddress: Invalid value: "70000": must be a valid port'],
  [{ portRange: '9-1' }, 'portRange: Invalid value: "9-1": must be a valid port range (e.g. 300-2000)'],
  [{ nodePortAddresses: ['10.0.0.1'] }, 'nodePortAddresses[0]: Invalid value: "10.0.0.1": must be a valid CIDR'],
  [
    { nodePortAddresses: ['10.0.0.0/8', 'primary'] },
    `nodePortAddresses[1]: Invalid value: "primary": can't use both 'primary' and CIDRs`,
  ],
  [
    { showHiddenMetricsForVersion: '1.2' },
    'showHiddenMetricsForVersion: Invalid value: "1.2": --show-hidden-metrics-for-version must be omitted or have the value \'1.35\'. Only the previous minor version is allowed',
  ],
  [
    { detectLocalMode: 'Guess' },
    'detectLocalMode: Unsupported value: "Guess": supported values: "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix", ""',
  ],
  [{ detectLocalMode: 'BridgeInterface' }, 'detectLocal.bridgeInterface: Invalid value: "": must not be empty'],
  [{ detectLocalMode: 'InterfaceNamePrefix' }, 'detectLocal.interfaceNamePrefix: Invalid value: "": must not be empty'],
  [{ clusterCIDR: '10.0.0.0' }, `clusterCIDR: Invalid value: "10.0.0.0": ${cidr}`],
  [{ clusterCIDR: '10.0.0.0/8,10.0.0.0/9' }, `clusterCIDR: Invalid value: ["10.0.0.0/8", "10.0.0.0/9"]: ${pair}`],
  [{ clusterCIDR: '1,2,3' }, `clusterCIDR: Invalid value: ["1", "2", "3"]: ${pair}`],
  [{ logging: { format: 'xml' } }, 'logging.format: Invalid value: "xml": Unsupported log format'],
  [{ logging: { verbosity: 2 ** 31 } }, 'logging.verbosity: Invalid value: 2147483648: Must be <= 2147483647'],
  [
    { logging: { format: 'json', vmodule: [{ filePattern: 'a', verbosity: 1 }] } },
    'logging.vmodule: Forbidden: Only supported for text log format',
  ],
  [
    { logging: { vmodule: [{ verbosity: 1 }, { filePattern: 'a=b', verbosity: 1 }] } },
    'logging.vmodule[0]: Required value: File pattern must not be empty; logging.vmodule[1]: Invalid value: "a=b": File pattern must not contain equal sign or comma',
  ],
  [
    { logging: { options: { json: { splitStream: true, infoBufferSize: '64Ki' } } } },
    'logging.options.json.splitStream: Forbidden: Feature LoggingAlphaOptions is disabled; logging.options.json.infoBufferSize: Forbidden: Feature LoggingAlphaOptions is disabled',
  ],
])('%j is refused', (input, message) => {
  expect(() => parse(input)).toThrow(new RangeError(`proxy.yaml: ${message}`))
})

test('all that is wrong is told at once', () => {
  expect(() => parse({ mode: 'x', oomScoreAdj: 2000, bindAddress: '1' }, { v: 'much' })).toThrow(
    /^proxy\.yaml: --v: .*; mode: .*; oomScoreAdj: .*; bindAddress: /,
  )
  expect(() => parse({ what: 1, mode: 7, configSyncPeriod: 'x' })).toThrow(
    /configSyncPeriod .*; mode 7: .*Unrecognized key/,
  )
})

test('the gate AllowServiceExternalIPs is on unless it is switched off, those of pages the other way', () => {
  const gated = (featureGates: object): object => proxierOptionsOf(parse({ featureGates }))
  expect(gated({})).toMatchObject({ allowServiceExternalIPs: true, pages: { flagz: false, statusz: false } })
  const gates = { AllowServiceExternalIPs: false, ComponentFlagz: true, ComponentStatusz: true }
  expect(gated(gates)).toMatchObject({ allowServiceExternalIPs: false, pages: { flagz: true, statusz: true } })
})

test('unknown fields may be left out and told of; what is wrong besides is an error all the same', () => {
  const problems: string[] = []
  const unknown = (found: readonly string[]): void => void problems.push(...found)
  const input = { mode: 'ipvs', next: 1, ipvs: { scheduler: 'lc', future: { x: 1 } }, other: [] }
  expect(parseKubeProxyConfiguration(input, 'proxy.yaml', {}, { unknown })).toEqual(
    parse({ mode: 'ipvs', ipvs: { scheduler: 'lc' } }),
  )
  expect(problems.toSorted()).toEqual(['(top): Unrecognized keys: "next", "other"', 'ipvs: Unrecognized key: "future"'])
  expect(input).toHaveProperty('next')
  expect(() => parseKubeProxyConfiguration({ next: 1, oomScoreAdj: 'x' }, 'proxy.yaml', {}, { unknown })).toThrow(
    /^proxy\.yaml: oomScoreAdj "x": [^;]*$/,
  )
  expect(problems).toHaveLength(2)
})

test('the host name of a file is trimmed and in lower case, too', () => {
  expect(parse({ hostnameOverride: ' Node-A ' }).hostnameOverride).toBe('node-a')
  expect(() => parse({ hostnameOverride: ' ' })).toThrow('proxy.yaml: hostnameOverride: empty hostname is invalid')
})

test.each([
  ['24h', '24h0m0s'],
  ['90s', '1m30s'],
  ['0', '0s'],
  ['-1.5h', '-1h30m0s'],
  ['59.5s', '59.5s'],
  ['1h1ns', '1h0m0.000000001s'],
  ['1500us', '1.5ms'],
  ['7us', '7µs'],
  ['3ns', '3ns'],
])('the duration %s is shown as %s', (text, shown) => expect(durationText(text)).toBe(shown))

test('/configz shows durations as Go spells them', () => {
  const { configuration } = proxierOptionsOf(parse({ ipvs: { udpTimeout: '5m' }, nftables: { syncPeriod: '90s' } }))
  expect(configuration).toMatchObject({
    configSyncPeriod: '15m0s',
    iptables: { syncPeriod: '30s', minSyncPeriod: '1s' },
    ipvs: { syncPeriod: '30s', udpTimeout: '5m0s', tcpTimeout: '0s' },
    nftables: { syncPeriod: '1m30s' },
    conntrack: { tcpEstablishedTimeout: '24h0m0s', tcpCloseWaitTimeout: '1h0m0s', udpTimeout: '0s' },
  })
})

test('of the modes that are not used nothing but the types is looked at', () => {
  expect(parse({ nftables: { masqueradeBit: 99 }, ipvs: { tcpTimeout: '-1s' } }).ipvs.tcpTimeout).toBe('-1s')
})

test('every flag sets its field, over what the file says', () => {
  const values: Record<string, string> = {
    'feature-gates': 'A=true,B=false',
    kubeconfig: '/k',
    'kube-api-content-type': 'application/json',
    'kube-api-qps': '2.5',
    'kube-api-burst': '7',
    'hostname-override': ' Node-1 ',
    'bind-address': '10.0.0.1',
    'healthz-bind-address': '10.0.0.2',
    'metrics-bind-address': '10.0.0.3:99',
    'bind-address-hard-fail': '',
    profiling: 'true',
    'show-hidden-metrics-for-version': '1.35',
    'proxy-mode': 'ipvs',
    'iptables-masquerade-bit': '0',
    'masquerade-all': '1',
    'iptables-localhost-nodeports': 'false',
    'iptables-sync-period': '40s',
    'iptables-min-sync-period': '0',
    'ipvs-sync-period': '41s',
    'ipvs-min-sync-period': '2s',
    'ipvs-scheduler': 'lc',
    'ipvs-exclude-cidrs': '10.0.0.0/8,fd00::/8',
    'ipvs-strict-arp': 't',
    'ipvs-tcp-timeout': '1s',
    'ipvs-tcpfin-timeout': '2s',
    'ipvs-udp-timeout': '3s',
    'detect-local-mode': 'BridgeInterface',
    'pod-bridge-interface': 'br0',
    'pod-interface-name-prefix': 'veth',
    'cluster-cidr': '10.1.0.0/16',
    'nodeport-addresses': 'primary',
    'oom-score-adj': '-5',
    'conntrack-max-per-core': '1',
    'conntrack-min': '2',
    'conntrack-tcp-timeout-established': '4s',
    'conntrack-tcp-timeout-close-wait': '5s',
    'conntrack-tcp-be-liberal': 'True',
    'conntrack-udp-timeout': '6s',
    'conntrack-udp-timeout-stream': '7s',
    'config-sync-period': '8m',
    'logging-format': 'text',
    'log-flush-frequency': '9s',
    v: '3',
    vmodule: 'a.go=2,b*=4',
    'log-text-split-stream': 'false',
    'log-text-info-buffer-size': '0',
    'log-json-split-stream': 'false',
    'log-json-info-buffer-size': '0',
    'healthz-port': '1256',
    'metrics-port': '1249',
  }
  expect(Object.keys(values).toSorted()).toEqual(proxyFlags.map(({ name }) => name).toSorted())
  const config = parse({ mode: 'nftables', featureGates: { B: true, C: true }, clusterCIDR: '10.9.0.0/16' }, values)
  expect(config).toMatchObject({
    featureGates: { A: true, B: false, C: true },
    clientConnection: { kubeconfig: '/k', contentType: 'application/json', qps: 2.5, burst: 7 },
    hostnameOverride: 'node-1',
    bindAddress: '10.0.0.1',
    healthzBindAddress: '10.0.0.2:1256',
    metricsBindAddress: '10.0.0.3:99',
    bindAddressHardFail: true,
    enableProfiling: true,
    mode: 'ipvs',
    iptables: {
      masqueradeBit: 0,
      masqueradeAll: true,
      localhostNodePorts: false,
      syncPeriod: '40s',
      minSyncPeriod: '0',
    },
    nftables: { masqueradeAll: true, syncPeriod: '40s', minSyncPeriod: '0' },
    ipvs: {
      syncPeriod: '41s',
      minSyncPeriod: '2s',
      scheduler: 'lc',
      excludeCIDRs: ['10.0.0.0/8', 'fd00::/8'],
      strictARP: true,
      tcpTimeout: '1s',
      tcpFinTimeout: '2s',
      udpTimeout: '3s',
    },
    detectLocalMode: 'BridgeInterface',
    detectLocal: { bridgeInterface: 'br0', interfaceNamePrefix: 'veth' },
    clusterCIDR: '10.1.0.0/16',
    nodePortAddresses: ['primary'],
    oomScoreAdj: -5,
    conntrack: {
      maxPerCore: 1,
      min: 2,
      tcpEstablishedTimeout: '4s',
      tcpCloseWaitTimeout: '5s',
      tcpBeLiberal: true,
      udpTimeout: '6s',
      udpStreamTimeout: '7s',
    },
    configSyncPeriod: '8m',
    logging: {
      verbosity: 3,
      flushFrequency: '9s',
      vmodule: [
        { filePattern: 'a.go', verbosity: 2 },
        { filePattern: 'b*', verbosity: 4 },
      ],
    },
  })
})

test.each<[flags: Record<string, string>, message: string]>([
  [{ 'no-such': '' }, '--no-such: unknown flag'],
  [{ profiling: 'perhaps' }, '--profiling: Invalid value: "perhaps": must be true or false'],
  [{ 'oom-score-adj': 'low' }, '--oom-score-adj: Invalid value: "low": must be a whole number of 32 bits'],
  [{ 'kube-api-qps': 'x' }, '--kube-api-qps: Invalid value: "x": must be a number'],
  [
    { 'ipvs-sync-period': '5' },
    '--ipvs-sync-period: Invalid value: "5": is not a duration; write for instance 90s or 1m30s',
  ],
  [
    { 'feature-gates': 'A' },
    '--feature-gates: Invalid value: "A": must be NAME=true or NAME=false, with commas between them',
  ],
  [{ vmodule: 'a' }, '--vmodule: Invalid value: "a": must be PATTERN=N, with commas between them'],
  [{ 'hostname-override': ' ' }, '--hostname-override: empty hostname-override is invalid'],
  [{ 'metrics-port': '0' }, 'metricsBindAddress: Invalid value: "": must be IP:port'],
  [{ 'metrics-port': 'x' }, '--metrics-port: Invalid value: "x": must be a whole number of 32 bits'],
  [{ 'oom-score-adj': '1001' }, 'oomScoreAdj: Invalid value: 1001: must be within the range [-1000, 1000]'],
])('flags %j are refused', (flags, message) => {
  expect(() => parse({}, flags)).toThrow(new RangeError(`proxy.yaml: ${message}`))
})

test('old flags of ports work and are told of; port 0 is no health server', () => {
  const flags = { 'healthz-port': '0', 'metrics-port': '77' }
  expect(parse({}, flags)).toMatchObject({ healthzBindAddress: '', metricsBindAddress: '127.0.0.1:77' })
  expect(deprecations(flags)).toEqual([
    'Flag --healthz-port has been deprecated, This flag is deprecated and will be removed in a future release. Please use --healthz-bind-address instead.',
    'Flag --metrics-port has been deprecated, This flag is deprecated and will be removed in a future release. Please use --metrics-bind-address instead.',
  ])
  expect(deprecations({ 'proxy-mode': 'ipvs' })).toEqual([])
  expect('healthzBindAddress' in proxierOptionsOf(parse({}, flags))).toBe(false)
})

test('what is not done here is told of, not silently left out', () => {
  const own = { ownProcess: true, ownClient: true, ownLogLevel: true }
  const idle = (input: object, madeWith = own) => idleProxySettings(parse(input), parse({}), madeWith)
  expect(idle({})).toEqual([])
  expect(idle({ windowsRunAsService: true, winkernel: { enableDSR: true }, portRange: '1-2' })).toEqual([
    'portRange',
    'winkernel',
    'windowsRunAsService',
  ])
  expect(idle({ logging: { format: 'json', flushFrequency: '1s', verbosity: 4 }, configSyncPeriod: '1m' })).toEqual([
    'logging.format',
    'logging.flushFrequency',
    'configSyncPeriod',
  ])
  expect(idle({ featureGates: { NFTablesProxyMode: true, X: false } })).toEqual(['featureGates.X'])
  const mine = { oomScoreAdj: 0, clientConnection: { kubeconfig: '/k' }, logging: { verbosity: 4 } }
  expect(idle(mine)).toEqual([])
  expect(idleProxySettings(parse(mine), parse({}), {})).toEqual([
    'oomScoreAdj',
    'clientConnection.kubeconfig',
    'logging.verbosity',
  ])
})

test('options of a proxier', () => {
  expect(proxierOptionsOf(parse({ clusterCIDR: '10.0.0.0/8,fd00::/8', bindAddress: '::' }))).toMatchObject({
    mode: 'iptables',
    masqueradeBit: 14,
    syncPeriodMs: 30_000,
    minSyncPeriodMs: 1000,
    localhostNodePorts: true,
    localTraffic: { mode: 'ClusterCIDR', cidrs: ['10.0.0.0/8', 'fd00::/8'] },
    nodePortAddresses: [],
    healthzBindAddress: '[::]:10256',
    conntrack: {
      maxPerCore: 32_768,
      min: 131_072,
      tcpEstablishedSeconds: 86_400,
      tcpCloseWaitSeconds: 3600,
      tcpBeLiberal: false,
      udpSeconds: 0,
      udpStreamSeconds: 0,
    },
  })
  const nftables = { masqueradeAll: true, masqueradeBit: 3, syncPeriod: '1m', minSyncPeriod: '100ms' }
  expect(proxierOptionsOf(parse({ mode: 'nftables', nftables }))).toMatchObject({
    mode: 'nftables',
    masqueradeAll: true,
    masqueradeBit: 3,
    syncPeriodMs: 60_000,
    minSyncPeriodMs: 100,
  })
  const ipvs = {
    scheduler: 'lc',
    strictARP: true,
    tcpTimeout: '15m',
    minSyncPeriod: '0s',
    excludeCIDRs: ['10.0.0.0/8'],
  }
  expect(proxierOptionsOf(parse({ mode: 'ipvs', ipvs, iptables: { masqueradeAll: true } }))).toMatchObject({
    mode: 'ipvs',
    masqueradeAll: true,
    ipvs: { scheduler: 'lc', strictARP: true, tcpTimeoutSeconds: 900, excludeCIDRs: ['10.0.0.0/8'] },
    minSyncPeriodMs: 0,
  })
})

test.each([
  [{}, { mode: 'ClusterCIDR', cidrs: [] }],
  [
    { detectLocalMode: 'NodeCIDR', clusterCIDR: '10.0.0.0/8' },
    { mode: 'NodeCIDR', cidrs: ['10.1.1.0/24'] },
  ],
  [
    { detectLocalMode: 'BridgeInterface', detectLocal: { bridgeInterface: 'br0' } },
    { mode: 'BridgeInterface', interface: 'br0' },
  ],
  [
    { detectLocalMode: 'InterfaceNamePrefix', detectLocal: { interfaceNamePrefix: 'veth' } },
    { mode: 'InterfaceNamePrefix', prefix: 'veth' },
  ],
])('local traffic by %j', (input, localTraffic) =>
  expect(proxierOptionsOf(parse(input), ['10.1.1.0/24']).localTraffic).toEqual(localTraffic),
)

test.each([
  ['0.0.0.0', ['192.0.2.1', 'fd00::1'], ['192.0.2.1', 'fd00::1']],
  ['::', ['192.0.2.1'], ['192.0.2.1', '::1']],
  ['::', [], ['::1', '127.0.0.1']],
  ['0.0.0.0', [], ['127.0.0.1', '::1']],
  ['192.0.2.9', ['192.0.2.1', 'fd00::1'], ['192.0.2.9', 'fd00::1']],
  ['fd00::9', ['192.0.2.1', 'fd00::1'], ['fd00::9', '192.0.2.1']],
])('with bindAddress %s and addresses %j the node has %j', (bindAddress, ofNode, expected) =>
  expect(nodeIPsOf(parse({ bindAddress }), ofNode)).toEqual(expected),
)

test.each([
  ['1m30s', 90_000],
  ['-1.5h', -5_400_000],
  ['.5s', 500],
  ['1µs', 0.001],
  ['0', 0],
  ['', undefined],
  ['5', undefined],
  ['1d', undefined],
  ['1 s', undefined],
  ['300000000h', undefined],
])('%j lasts %s ms', (text, ms) => expect(durationMs(text)).toBe(ms))

test('nothing that a file may hold is answered by anything but a RangeError', () => {
  const json = fc.jsonValue()
  const known = Object.keys(defaults)
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...known), json), (input) => {
      try {
        expect(parse(parse(input))).toEqual(parse(input))
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError)
      }
    }),
  )
})
