// What no type of a field says: kube-proxy's checks, with its words and the names that the fields have in a file. Pure.
import { parseAddress, parseCidr } from '../net/address.ts'
import { checkedMs } from './duration.ts'
import { lockedFeatures } from './features.ts'
import { splitHostPort } from './listen-address.ts'
import type { DecodedConfiguration } from './types.ts'

/** Receives what is wrong with a field. */
type Report = (problem: string) => void

const shown = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map((item) => JSON.stringify(item)).join(', ')}]`
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}

const invalid = (field: string, value: unknown, detail: string): string =>
  `${field}: Invalid value: ${shown(value)}: ${detail}`

/** @returns what is wrong, all of it, in kube-proxy's order */
export function validateConfiguration(config: DecodedConfiguration): string[] {
  const problems: string[] = []
  const report: Report = (problem) => void problems.push(problem)
  checkFeatures(config, report)
  checkModes(config, report)
  checkConntrack(config, report)
  checkClient(config, report)
  checkAddresses(config, report)
  checkLocalTraffic(config, report)
  checkLogging(config.logging, report)
  return problems
}

function checkFeatures({ featureGates }: DecodedConfiguration, report: Report): void {
  for (const [name, isOn] of Object.entries(featureGates)) {
    const locked = lockedFeatures.get(name)
    if (locked === undefined || locked === isOn) continue
    const detail = `cannot set feature gate ${name} to ${isOn}, feature is locked to ${locked}`
    report(invalid('featureGates', JSON.stringify(featureGates), detail))
  }
}

const modes = ['iptables', 'ipvs', 'nftables'] as const

function checkModes(config: DecodedConfiguration, report: Report): void {
  const { mode } = config
  const mode_ = modes.find((one) => one === (mode || 'iptables'))
  for (const one of ['iptables', 'nftables'] as const) {
    if (one !== 'iptables' && one !== mode_) continue
    const { masqueradeBit } = config[one]
    if (masqueradeBit < 0 || masqueradeBit > 31)
      report(invalid(`${one}.masqueradeBit`, masqueradeBit, 'must be within the range [0, 31]'))
  }
  if (mode_) checkPeriods(mode_, config[mode_], report)
  else {
    const hint = '(blank means the best-available proxy [currently iptables])'
    report(invalid('mode', mode, `must be ${modes.join(', ')} or blank ${hint}`))
  }
  if (mode_ !== 'ipvs') return
  for (const field of ['tcpTimeout', 'tcpFinTimeout', 'udpTimeout'] as const) {
    checkNotNegative(`ipvs.${field}`, config.ipvs[field], report)
  }
  checkCidrs('ipvs.excludeCIDRs', config.ipvs.excludeCIDRs, report)
}

function checkPeriods(
  section: string,
  { syncPeriod, minSyncPeriod }: { syncPeriod: string; minSyncPeriod: string },
  report: Report,
): void {
  if (checkedMs(syncPeriod) <= 0) report(invalid(`${section}.syncPeriod`, syncPeriod, 'must be greater than 0'))
  checkNotNegative(`${section}.minSyncPeriod`, minSyncPeriod, report)
  if (checkedMs(minSyncPeriod) > checkedMs(syncPeriod)) {
    const detail = `must be greater than or equal to ${section}.minSyncPeriod`
    report(invalid(`${section}.syncPeriod`, syncPeriod, `${detail} ${shown(minSyncPeriod)}`))
  }
}

/** A number, or a duration. */
function checkNotNegative(field: string, value: string | number, report: Report): void {
  const isNegative = (typeof value === 'number' ? value : checkedMs(value)) < 0
  if (isNegative) report(invalid(field, value, 'must be greater than or equal to 0'))
}

function checkConntrack({ conntrack, oomScoreAdj }: DecodedConfiguration, report: Report): void {
  const { tcpBeLiberal: _, ...limits } = conntrack
  for (const [field, value] of Object.entries(limits)) checkNotNegative(`conntrack.${field}`, value, report)
  if (oomScoreAdj < -1000 || oomScoreAdj > 1000)
    report(invalid('oomScoreAdj', oomScoreAdj, 'must be within the range [-1000, 1000]'))
}

function checkClient({ clientConnection, configSyncPeriod }: DecodedConfiguration, report: Report): void {
  checkNotNegative('clientConnection.burst', clientConnection.burst, report)
  if (checkedMs(configSyncPeriod) <= 0) report(invalid('configSyncPeriod', configSyncPeriod, 'must be greater than 0'))
}

/** The only release whose hidden metrics may be asked for. */
const previousRelease = '1.35'

function checkAddresses(config: DecodedConfiguration, report: Report): void {
  const { bindAddress, healthzBindAddress, metricsBindAddress, portRange, showHiddenMetricsForVersion: hidden } = config
  if (!parseAddress(bindAddress))
    report(invalid('bindAddress', bindAddress, 'not a valid textual representation of an IP address'))
  if (healthzBindAddress !== '') checkHostPort('healthzBindAddress', healthzBindAddress, report)
  checkHostPort('metricsBindAddress', metricsBindAddress, report)
  if (!isPortRange(portRange)) report(invalid('portRange', portRange, 'must be a valid port range (e.g. 300-2000)'))
  checkNodePortAddresses(config.nodePortAddresses, report)
  if (hidden !== '' && hidden !== previousRelease) {
    const detail = `--show-hidden-metrics-for-version must be omitted or have the value '${previousRelease}'. Only the previous minor version is allowed`
    report(invalid('showHiddenMetricsForVersion', hidden, detail))
  }
}

function checkHostPort(field: string, value: string, report: Report): void {
  const parts = splitHostPort(value)
  if (!parts) return report(invalid(field, value, 'must be IP:port'))
  const { host, port } = parts
  if (!parseAddress(host)) report(invalid(field, host, 'must be a valid IP'))
  if (!isPort(port)) report(invalid(field, port, 'must be a valid port'))
}

const isPort = (text: string): boolean => /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535

/** Nothing, a port, `first-last` or `first+more`. */
function isPortRange(text: string): boolean {
  const [, first, sign, second] = /^\s*(\d{1,5})(?:([-+])(\d{1,5}))?\s*$/.exec(text) ?? []
  if (first === undefined) return text.trim() === ''
  const last = sign === '-' ? Number(second) : Number(first) + Number(second ?? 0)
  return Number(first) <= last && Number(first) <= 65_535 && last <= 65_535
}

function checkNodePortAddresses(addresses: readonly string[], report: Report): void {
  const primary = addresses.indexOf('primary')
  const cidrs = primary < 0 ? addresses : addresses.slice(0, primary)
  checkCidrs('nodePortAddresses', cidrs, report)
  if (primary >= 0 && addresses.length > 1)
    report(invalid(`nodePortAddresses[${primary}]`, 'primary', "can't use both 'primary' and CIDRs"))
}

function checkCidrs(field: string, cidrs: readonly string[], report: Report): void {
  cidrs.forEach((cidr, at) => {
    if (!parseCidr(cidr)) report(invalid(`${field}[${at}]`, cidr, 'must be a valid CIDR'))
  })
}

const localModes = ['ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix', '']

function checkLocalTraffic({ detectLocalMode, detectLocal, clusterCIDR }: DecodedConfiguration, report: Report): void {
  if (!localModes.includes(detectLocalMode)) {
    const supported = localModes.map(shown).join(', ')
    report(`detectLocalMode: Unsupported value: ${shown(detectLocalMode)}: supported values: ${supported}`)
  }
  const { bridgeInterface, interfaceNamePrefix } = detectLocal
  if (detectLocalMode === 'BridgeInterface' && bridgeInterface === '')
    report(invalid('detectLocal.bridgeInterface', bridgeInterface, 'must not be empty'))
  if (detectLocalMode === 'InterfaceNamePrefix' && interfaceNamePrefix === '')
    report(invalid('detectLocal.interfaceNamePrefix', interfaceNamePrefix, 'must not be empty'))
  if ((detectLocalMode === '' || detectLocalMode === 'ClusterCIDR') && clusterCIDR !== '')
    checkClusterCIDR(clusterCIDR, report)
}

function checkClusterCIDR(text: string, report: Report): void {
  const texts = text.split(',')
  const cidrs = texts.map((one) => parseCidr(one))
  const pair = 'must be a either a single CIDR or dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]'
  if (texts.length > 2) return report(invalid('clusterCIDR', texts, pair))
  cidrs.forEach((cidr, at) => {
    const detail = 'must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)'
    if (!cidr) report(invalid('clusterCIDR', texts[at], detail))
  })
  const [first, second] = cidrs
  if (first && second && first.family === second.family) report(invalid('clusterCIDR', texts, pair))
}

const mostVerbosity = 2 ** 31 - 1

function checkLogging({ format, verbosity, vmodule, options }: DecodedConfiguration['logging'], report: Report): void {
  const at = (field: string): string => `logging.${field}`
  if (format !== 'text' && format !== 'json') report(invalid(at('format'), format, 'Unsupported log format'))
  if (verbosity > mostVerbosity) report(invalid(at('verbosity'), verbosity, `Must be <= ${mostVerbosity}`))
  if (vmodule.length > 0 && format !== 'text') report(`${at('vmodule')}: Forbidden: Only supported for text log format`)
  vmodule.forEach(({ filePattern, verbosity: own }, index) => {
    const field = at(`vmodule[${index}]`)
    if (filePattern === '') report(`${field}: Required value: File pattern must not be empty`)
    if (/[=,]/.test(filePattern))
      report(invalid(field, filePattern, 'File pattern must not contain equal sign or comma'))
    if (own > mostVerbosity) report(invalid(field, own, `Must be <= ${mostVerbosity}`))
  })
  for (const name of ['text', 'json'] as const) {
    const { splitStream, infoBufferSize } = options[name]
    // Alpha features of Kubernetes' own loggers.
    const off = 'Forbidden: Feature LoggingAlphaOptions is disabled'
    if (splitStream) report(`${at(`options.${name}.splitStream`)}: ${off}`)
    if (Number.parseFloat(infoBufferSize) !== 0) report(`${at(`options.${name}.infoBufferSize`)}: ${off}`)
  }
}
