// Tries rows in one mode: those with the same setting are loaded together, and all packets of a step are sent at once.
import { setTimeout as sleep } from 'node:timers/promises'
import type { NodeFacts } from '@nodelet/proxy-rules'
import { createFamilyProxier, type FamilyProxier } from '../../src/family-proxier.ts'
import type { ServiceObjects } from '../../src/graph/service-graph.ts'
import { createHealthServers, type HealthServers } from '../../src/health/service-health.ts'
import { silentLogger } from '../../src/log.ts'
import { createProxyMetrics } from '../../src/metrics/proxy-metrics.ts'
import { parseAddress } from '../../src/net/address.ts'
import { nodePortAddresses } from '../../src/node/node-port-addresses.ts'
import { forgetFlows } from './flows.ts'
import type { Mode } from './mode.ts'
import { families, places, vip } from './places.ts'
import { familiesOf, type Context, type Numbered, type WholeSetting } from './plan.ts'
import { namespace, serviceName, serviceOf, slicesOf, stepsOf } from './row.ts'
import type { Row, Step } from './row.ts'
import { tryStep } from './send.ts'
import type { Results } from './tried.ts'
import type { World } from './world.ts'

const usual: Omit<NodeFacts, 'interfaces' | 'localhostNodePorts' | 'nodePortAddresses'> = {
  nodeIPs: places.node.address,
  masqueradeAll: false,
  masqueradeBit: 14,
  localTraffic: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16', 'fd44::/16'] },
  randomFully: true,
  nfacct: false,
  conntrackLiberal: false,
}

/** Whether the row holds in the mode of this name. */
export const holdsIn = ({ notIn = {} }: Row, mode: string): boolean =>
  !Object.keys(notIn).some((name) => mode.startsWith(name))

/** Tries all rows that hold in the mode. A setting that cannot be made fails its rows, and no others. */
export async function runRows(world: World, mode: Mode, rows: readonly Row[]): Promise<Results> {
  const results: Results = new Map()
  const numbered = rows.map((row, index) => ({ row, number: index + 1 })).filter(({ row }) => holdsIn(row, mode.name))
  const groups = Map.groupBy(numbered, ({ row }) => JSON.stringify(settingIn(mode, row)))
  const own = familiesOf(mode)
  for (const family of own)
    await world.run(family === 'IPv4' ? 'iptables' : 'ip6tables', ...markRule(places.marked.address[family]))
  const backends = await Promise.all(own.map((family) => mode.open(family, world.netns)))
  const ports = { next: 10_000 }
  for (const [text, group] of groups) {
    try {
      const setting = JSON.parse(text) as WholeSetting
      await runGroup({ world, mode, backends, ports, setting }, group, results)
    } catch (error) {
      for (const { row } of group) results.set(row, error as Error)
    }
  }
  for (const backend of backends) {
    await backend.cleanUp()
    await backend.close?.()
  }
  return results
}

/** What rows of one load have in common: what a row names is often what the mode has anyway, or does not look at. */
function settingIn(mode: Mode, { setting = {} }: Row): WholeSetting {
  const { facts, ownsVIP: _, ...rest } = setting
  return { ...mode.always, ...rest, facts: { ...usual, ...mode.facts, ...facts } }
}

const markRule = (source: string): string[] => [
  '-t',
  'mangle',
  '-A',
  'PREROUTING',
  '-s',
  source,
  '-j',
  'MARK',
  '--set-mark',
  '0x4000',
]

async function runGroup(context: Context, group: readonly Numbered[], results: Results): Promise<void> {
  const { world, mode, backends, setting } = context
  const { facts } = setting
  const metrics = createProxyMetrics(mode.proxyMode, () => [])
  const proxiers = backends.map((backend) =>
    createFamilyProxier({ backend, facts, counts: () => false, netns: world.netns, metrics, log: silentLogger }),
  )
  const health = createHealthServers({
    nodeName: 'node',
    events: { onService: () => {} },
    netns: world.netns,
    isHealthy: () => true,
    answersOn: answersOn(facts),
    log: silentLogger,
  })
  const memory = new Map<string, string>()
  await forgetFlows(world)
  await prepare(world, group, setting, true)
  try {
    const count = Math.max(...group.map(({ row }) => stepsOf(row).length))
    for (let index = 0; index < count; index += 1) {
      await load(proxiers, health, group, index, setting)
      const now = group.flatMap(({ row, number }) => {
        const step = stepsOf(row)[index]
        return step ? [{ row, number, step }] : []
      })
      if (now.some(({ step }) => step.forgets)) await forgetFlows(world)
      await sleep(Math.max(0, ...now.map(({ step }) => step.pauseMs ?? 0)))
      await tryStep({ ...context, proxiers, memory }, now, results)
    }
  } finally {
    await health.close()
    await prepare(world, group, setting, false)
  }
}

/** What a setting asks of the machine: made, or undone. */
async function prepare(
  world: World,
  group: readonly Numbered[],
  { policy, facts, routesLocalnet, isStrict }: WholeSetting,
  isBegin: boolean,
): Promise<void> {
  const { localhost } = nodePortAddresses({ ...facts, interfaces: {} }, 'IPv4')
  world.setSysctl('net/ipv4/conf/all/route_localnet', isBegin && (localhost || routesLocalnet === true) ? 1 : 0)
  // The rule that drops is shared with a kubelet: nobody takes it away who does not need it (7.2).
  if (routesLocalnet && isBegin) await world.run('sh', '-c', 'iptables -F KUBE-FIREWALL || true')
  if (isStrict) world.setSysctl('net/netfilter/nf_conntrack_tcp_loose', isBegin ? 0 : 1)
  if (policy)
    for (const chain of ['INPUT', 'FORWARD']) await world.run('iptables', '-P', chain, isBegin ? policy : 'ACCEPT')
  for (const { number } of group.filter(({ row }) => row.setting?.ownsVIP))
    for (const family of families)
      await world.setAddress(isBegin ? 'add' : 'delete', 'lo', `${vip(number)[family]}/${family === 'IPv4' ? 32 : 128}`)
}

function answersOn(facts: Omit<NodeFacts, 'interfaces'>): (address: string) => boolean {
  return (text) => {
    const address = parseAddress(text)
    if (!address) return false
    const own = { eth: [`${text}/32`] }
    const { all, addresses } = nodePortAddresses({ ...facts, interfaces: own }, address.family)
    return all || addresses.includes(address.text)
  }
}

/** A step's state of a Service: what earlier steps said and it does not change stays. */
function stateAt(row: Row, index: number): Step {
  return Object.assign({}, ...stepsOf(row).slice(0, index + 1)) as Step
}

async function load(
  proxiers: readonly FamilyProxier[],
  health: HealthServers,
  group: readonly Numbered[],
  index: number,
  { zone = 'z1', serviceCIDRs = [], others }: WholeSetting,
): Promise<void> {
  const changes = new Map<string, ServiceObjects>()
  for (const { row, number } of group) {
    const { isThere = true, service = row.service, endpoints = row.endpoints } = stateAt(row, index)
    const key = `${namespace}/${serviceName(number)}/`
    const slices = slicesOf(number, service, endpoints)
    changes.set(key, isThere ? { service: serviceOf(number, service), slices } : { service: undefined, slices: [] })
  }
  if (others) changes.set('others/others/', otherEndpoints(others[index] ?? 0))
  const update = { nodeName: 'here', zone, changes, serviceCIDRs, triggers: [] }
  await Promise.all(proxiers.map((proxier) => proxier.sync(update)))
  health.update(proxiers.flatMap((proxier) => proxier.graph() ?? []))
}

function otherEndpoints(count: number): ServiceObjects {
  const metadata = { namespace: 'others', name: 'others' }
  const slices = families.map((addressType) => ({
    metadata: { ...metadata, labels: { 'kubernetes.io/service-name': 'others' } },
    addressType,
    endpoints: Array.from({ length: count }, (_, n) => {
      const address = addressType === 'IPv4' ? `10.245.${n >> 8}.${n & 255}` : `fd45::${n.toString(16)}`
      return { addresses: [address], conditions: { ready: false } }
    }),
    ports: [{ name: '', port: 1 }],
  }))
  return { service: { metadata, spec: { clusterIP: '10.97.0.1', ports: [{ port: 1 }] } }, slices }
}
