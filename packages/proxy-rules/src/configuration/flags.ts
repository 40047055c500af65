// kube-proxy's flags: what each is, and which field of the configuration it sets. Pure.
import { durationMs } from './duration.ts'
import { usualPorts, withPort } from './listen-address.ts'
import type { DecodedConfiguration } from './types.ts'

type Kind = 'text' | 'bool' | 'int' | 'number' | 'duration' | 'list' | 'gates' | 'vmodule'

export interface ProxyFlag {
  /** Without the dashes. */
  name: string
  kind: Kind
  help: string
  /** What to say who uses it; undefined: it is as good as any. */
  deprecated?: string
}

/** Flag, without the dashes → what the command line says; an empty text for a flag without a value. */
export type ProxyFlagValues = Readonly<Record<string, string>>

interface FieldFlag extends ProxyFlag {
  /** Fields of the configuration, with dots between the names. */
  fields: readonly string[]
}

const flag = (name: string, kind: Kind, field: string | readonly string[], help: string): FieldFlag => ({
  name,
  kind,
  help,
  fields: typeof field === 'string' ? [field] : field,
})

const fieldFlags: readonly FieldFlag[] = [
  flag('feature-gates', 'gates', 'featureGates', 'features to switch, NAME=true|false with commas between them'),
  flag('kubeconfig', 'text', 'clientConnection.kubeconfig', 'who we are to the API server'),
  flag('kube-api-content-type', 'text', 'clientConnection.contentType', 'content type of requests'),
  flag('kube-api-qps', 'number', 'clientConnection.qps', 'requests a second'),
  flag('kube-api-burst', 'int', 'clientConnection.burst', 'requests at once after a quiet time'),
  flag('hostname-override', 'text', 'hostnameOverride', 'name of the Node (default: the host name)'),
  flag('bind-address', 'text', 'bindAddress', 'the address of the node; nothing listens there'),
  flag('healthz-bind-address', 'text', 'healthzBindAddress', 'where /healthz answers; empty: nowhere'),
  flag('metrics-bind-address', 'text', 'metricsBindAddress', 'where /metrics answers'),
  flag('bind-address-hard-fail', 'bool', 'bindAddressHardFail', 'end when a server cannot listen'),
  flag('profiling', 'bool', 'enableProfiling', 'answer /debug/pprof/'),
  flag('show-hidden-metrics-for-version', 'text', 'showHiddenMetricsForVersion', 'a release, as 1.35'),
  flag('proxy-mode', 'text', 'mode', 'iptables (default), ipvs or nftables'),
  flag('iptables-masquerade-bit', 'int', 'iptables.masqueradeBit', 'the bit of the mark, 0 to 31'),
  flag(
    'masquerade-all',
    'bool',
    ['iptables.masqueradeAll', 'nftables.masqueradeAll'],
    'masquerade all traffic to cluster IPs',
  ),
  flag('iptables-localhost-nodeports', 'bool', 'iptables.localhostNodePorts', 'let node ports answer on 127.0.0.0/8'),
  flag(
    'iptables-sync-period',
    'duration',
    ['iptables.syncPeriod', 'nftables.syncPeriod'],
    'between looks whether rules were flushed',
  ),
  flag(
    'iptables-min-sync-period',
    'duration',
    ['iptables.minSyncPeriod', 'nftables.minSyncPeriod'],
    'between two loads of rules',
  ),
  flag('ipvs-sync-period', 'duration', 'ipvs.syncPeriod', 'between two loads, at most'),
  flag('ipvs-min-sync-period', 'duration', 'ipvs.minSyncPeriod', 'between two loads, at least'),
  flag('ipvs-scheduler', 'text', 'ipvs.scheduler', 'how IPVS chooses an endpoint'),
  flag('ipvs-exclude-cidrs', 'list', 'ipvs.excludeCIDRs', 'virtual servers there are left alone'),
  flag('ipvs-strict-arp', 'bool', 'ipvs.strictARP', 'answer ARP for the own addresses alone'),
  flag('ipvs-tcp-timeout', 'duration', 'ipvs.tcpTimeout', 'of idle TCP connections; 0: as it is'),
  flag('ipvs-tcpfin-timeout', 'duration', 'ipvs.tcpFinTimeout', 'of TCP connections that end; 0: as it is'),
  flag('ipvs-udp-timeout', 'duration', 'ipvs.udpTimeout', 'of UDP packets; 0: as it is'),
  flag('detect-local-mode', 'text', 'detectLocalMode', 'how traffic of pods is known'),
  flag('pod-bridge-interface', 'text', 'detectLocal.bridgeInterface', 'the bridge of the pods'),
  flag('pod-interface-name-prefix', 'text', 'detectLocal.interfaceNamePrefix', 'how their interfaces begin'),
  flag('cluster-cidr', 'text', 'clusterCIDR', 'addresses of pods'),
  flag('nodeport-addresses', 'list', 'nodePortAddresses', 'CIDRs where node ports answer, or primary'),
  flag('oom-score-adj', 'int', 'oomScoreAdj', 'of this process, -1000 to 1000'),
  flag('conntrack-max-per-core', 'int', 'conntrack.maxPerCore', 'tracked connections; 0: as it is'),
  flag('conntrack-min', 'int', 'conntrack.min', 'tracked connections, at least'),
  flag(
    'conntrack-tcp-timeout-established',
    'duration',
    'conntrack.tcpEstablishedTimeout',
    'of idle TCP connections; 0: as it is',
  ),
  flag(
    'conntrack-tcp-timeout-close-wait',
    'duration',
    'conntrack.tcpCloseWaitTimeout',
    'of TCP connections in CLOSE_WAIT; 0: as it is',
  ),
  flag('conntrack-tcp-be-liberal', 'bool', 'conntrack.tcpBeLiberal', 'let TCP packets out of the window pass'),
  flag('conntrack-udp-timeout', 'duration', 'conntrack.udpTimeout', 'of unanswered UDP flows; 0: as it is'),
  flag('conntrack-udp-timeout-stream', 'duration', 'conntrack.udpStreamTimeout', 'of UDP flows; 0: as it is'),
  flag('config-sync-period', 'duration', 'configSyncPeriod', 'between looks at what the API server has'),
  flag('logging-format', 'text', 'logging.format', 'text or json'),
  flag('log-flush-frequency', 'duration', 'logging.flushFrequency', 'between flushes of the log'),
  flag('v', 'int', 'logging.verbosity', 'how much the log tells'),
  flag('vmodule', 'vmodule', 'logging.vmodule', 'the same by file, PATTERN=N with commas between them'),
  flag('log-text-split-stream', 'bool', 'logging.options.text.splitStream', 'alpha'),
  flag('log-text-info-buffer-size', 'text', 'logging.options.text.infoBufferSize', 'alpha'),
  flag('log-json-split-stream', 'bool', 'logging.options.json.splitStream', 'alpha'),
  flag('log-json-info-buffer-size', 'text', 'logging.options.json.infoBufferSize', 'alpha'),
]

const insteadOf = (other: string): string =>
  `This flag is deprecated and will be removed in a future release. Please use --${other} instead.`

/** Where a server listens: 0 is nowhere, and what the other flag says of the port wins. */
const portFlags = [
  {
    name: 'healthz-port',
    field: 'healthzBindAddress',
    help: 'the port of /healthz; 0: none',
    deprecated: insteadOf('healthz-bind-address'),
  },
  {
    name: 'metrics-port',
    field: 'metricsBindAddress',
    help: 'the port of /metrics',
    deprecated: insteadOf('metrics-bind-address'),
  },
] as const

/** All that set a field of the configuration, in kube-proxy's order. */
export const proxyFlags: readonly ProxyFlag[] = [
  ...fieldFlags.map(({ name, kind, help }) => ({ name, kind, help })),
  ...portFlags.map(({ name, help, deprecated }) => ({ name, kind: 'int' as const, help, deprecated })),
]

/** What is said who uses a flag that is on its way out. */
export function deprecations(flags: ProxyFlagValues): string[] {
  return proxyFlags.flatMap(({ name, deprecated }) =>
    deprecated !== undefined && Object.hasOwn(flags, name) ? [`Flag --${name} has been deprecated, ${deprecated}`] : [],
  )
}

/** Lays the flags over a complete configuration. A flag that nobody knows is a problem too. */
export function applyFlags(
  configuration: DecodedConfiguration,
  flags: ProxyFlagValues,
): { configuration: DecodedConfiguration; problems: string[] } {
  const result = structuredClone(configuration)
  const problems: string[] = []
  const known = new Set(proxyFlags.map(({ name }) => name))
  for (const name of Object.keys(flags)) if (!known.has(name)) problems.push(`--${name}: unknown flag`)
  for (const { name, kind, fields } of fieldFlags) {
    const text = flags[name]
    if (text === undefined) continue
    const value = readers[kind](text)
    if (value === undefined) problems.push(`--${name}: Invalid value: ${JSON.stringify(text)}: ${kinds[kind]}`)
    else
      for (const field of fields)
        setField(result, field, kind === 'gates' ? { ...result.featureGates, ...(value as object) } : value)
  }
  if (result.hostnameOverride !== '') {
    result.hostnameOverride = result.hostnameOverride.trim().toLowerCase()
    if (result.hostnameOverride === '')
      problems.push(
        flags['hostname-override'] === undefined
          ? 'hostnameOverride: empty hostname is invalid'
          : '--hostname-override: empty hostname-override is invalid',
      )
  }
  applyPorts(result, flags, problems)
  return { configuration: result, problems }
}

function applyPorts(result: DecodedConfiguration, flags: ProxyFlagValues, problems: string[]): void {
  for (const { name, field } of portFlags) {
    const port = flags[name] === undefined ? undefined : readers.int(flags[name])
    if (flags[name] !== undefined && port === undefined)
      problems.push(`--${name}: Invalid value: ${JSON.stringify(flags[name])}: ${kinds.int}`)
    if (port === 0) result[field] = ''
    else if (port !== undefined && flags[`${name.replace('-port', '-bind-address')}`] === undefined)
      result[field] = result[field].replace(/:\d+$/, `:${port}`)
    result[field] = withPort(result[field], port || usualPorts[field])
  }
}

function setField(configuration: DecodedConfiguration, field: string, value: unknown): void {
  const path = field.split('.')
  const last = path.pop() ?? ''
  const owner = path.reduce<Record<string, unknown>>(
    (object, key) => object[key] as Record<string, unknown>,
    configuration as unknown as Record<string, unknown>,
  )
  owner[last] = value
}

const kinds: Readonly<Record<Kind, string>> = {
  text: 'is no text',
  bool: 'must be true or false',
  int: 'must be a whole number of 32 bits',
  number: 'must be a number',
  duration: 'is not a duration; write for instance 90s or 1m30s',
  list: 'is no list',
  gates: 'must be NAME=true or NAME=false, with commas between them',
  vmodule: 'must be PATTERN=N, with commas between them',
}

const words = new Map([
  ...['', '1', 't', 'T', 'true', 'TRUE', 'True'].map((word) => [word, true] as const),
  ...['0', 'f', 'F', 'false', 'FALSE', 'False'].map((word) => [word, false] as const),
])

const list = (text: string): string[] => (text === '' ? [] : text.split(','))

/** A text as a value; undefined when it is none. */
const readers = {
  text: (text: string): string => text,
  bool: (text: string): boolean | undefined => words.get(text),
  int: (text: string): number | undefined =>
    /^[+-]?\d{1,10}$/.test(text) && Math.abs(Number(text)) < 2 ** 31 ? Number(text) : undefined,
  number: (text: string): number | undefined =>
    text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : undefined,
  duration: (text: string): string | undefined => (durationMs(text) === undefined ? undefined : text),
  list,
  gates: (text: string): Record<string, boolean> | undefined => {
    const gates = pairs(text).map(([name, word]) => [name.trim(), words.get(word.trim() || '?')] as const)
    return gates.some(([, isOn]) => isOn === undefined)
      ? undefined
      : (Object.fromEntries(gates) as Record<string, boolean>)
  },
  vmodule: (text: string): { filePattern: string; verbosity: number }[] | undefined => {
    const rules = pairs(text).map(([filePattern, digits]) => ({ filePattern, verbosity: Number(digits || NaN) }))
    return rules.some(({ verbosity }) => !Number.isInteger(verbosity) || verbosity < 0) ? undefined : rules
  },
} satisfies Record<Kind, (text: string) => unknown>

/** `name=value` parts; what has no value has an empty one. */
const pairs = (text: string): [string, string][] =>
  list(text).map((part) => {
    const at = part.indexOf('=')
    return at < 0 ? [part, ''] : [part.slice(0, at), part.slice(at + 1)]
  })
