// Large iptables programs: in several loads, with the same end; and not renewed each hour.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { changedServices, compileIptables, iptablesText, serviceGraph } from '@nodelet/proxy-rules'
import type { NodeFacts, ServiceGraph } from '@nodelet/proxy-rules'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createIptablesBackend } from '../src/apply/iptables-backend.ts'
import { createIptables, type Iptables, type RestoreText } from '../src/apply/iptables-restore.ts'
import { openIptables } from '../src/apply/iptables-tools.ts'
import { variantsInOrder } from '../src/apply/iptables-variant.ts'
import { runProgram } from '../src/apply/program.ts'
import { createFamilyProxier } from '../src/family-proxier.ts'
import { silentLogger } from '../src/log.ts'
import { joined } from '../src/text-chunks.ts'

const facts: NodeFacts = {
  nodeIPs: { IPv4: '192.0.2.1' },
  interfaces: {},
  nodePortAddresses: [],
  masqueradeAll: false,
  masqueradeBit: 14,
  localhostNodePorts: true,
  localTraffic: { mode: 'ClusterCIDR', cidrs: ['10.128.0.0/9'] },
  randomFully: true,
  nfacct: false,
  conntrackLiberal: false,
}

const service = (index: number, count: number, shift = 0) => ({
  service: {
    metadata: { namespace: 'shop', name: `web-${index}` },
    spec: { clusterIP: `10.96.${index >> 8}.${index & 255}`, ports: [{ port: 80 }] },
  },
  slice: {
    metadata: {
      namespace: 'shop',
      name: `web-${index}-1`,
      labels: { 'kubernetes.io/service-name': `web-${index}` },
    },
    addressType: 'IPv4' as const,
    endpoints: Array.from({ length: count }, (_, at) => ({
      addresses: [`10.${128 + shift + at}.${index >> 8}.${index & 255}`],
    })),
    ports: [{ name: '', port: 8080 }],
  },
})

function graphWith(count: number, endpoints: number, shift = 0): ServiceGraph {
  const all = Array.from({ length: count }, (_, index) => service(index, endpoints, shift))
  return serviceGraph({
    family: 'IPv4',
    nodeName: 'n',
    zone: '',
    services: all.map((one) => one.service),
    endpointSlices: all.map((one) => one.slice),
  })
}

const none = serviceGraph({ family: 'IPv4', nodeName: 'n', zone: '', services: [], endpointSlices: [] })
const usual = { variant: 'nft', isUsual: true, hasKubelet: false, others: 0 } as const
const other = { variant: 'legacy', isUsual: false, hasKubelet: false, others: 0 } as const

test.each([
  ['the usual one when nothing speaks for the other', usual, other, 'nft'],
  ['the other one with a kubelet', { ...usual, others: 7 }, { ...other, hasKubelet: true }, 'legacy'],
  ['the usual one when both have a kubelet', { ...usual, hasKubelet: true }, { ...other, hasKubelet: true }, 'nft'],
  ['the one with more rules of others', { ...usual, others: 2 }, { ...other, others: 3 }, 'legacy'],
  ['the usual one when both have as many', { ...usual, others: 3 }, { ...other, others: 3 }, 'nft'],
])('iptables: %s', (_, one, two, expected) => {
  for (const found of [
    [one, two],
    [two, one],
  ])
    expect(variantsInOrder(found)[0]?.variant).toBe(expected)
})

describe('in a network namespace', () => {
  let netns: string
  beforeEach(() => {
    netns = join(mkdtempSync(join(tmpdir(), 'nodelet-pieces-')), 'net')
    pinNamespaces({ paths: { net: netns } })
  })
  afterEach(() => {
    unpinNamespace(netns)
    rmSync(join(netns, '..'), { recursive: true })
  })
  const rules = async (): Promise<string[]> =>
    (await runProgram('iptables-nft-save', [], { netns })).stdout.split('\n').filter((line) => !line.startsWith('#'))

  test('a large program is loaded, changed and removed in pieces, with the same end as in one', async () => {
    const before = graphWith(300, 3)
    const after = graphWith(250, 3, 7)
    const nft = await openIptables('IPv4', { netns, variant: 'nft' })
    let loads = 0
    // What the backend's loads in pieces go through; clean-ups take a way of their own.
    const update: Iptables['update'] = async (textsOf) =>
      nft.update(async (saved) => Iterator.from(await textsOf(saved)).map((text) => ((loads += 1), text)))
    const restore = async (text: RestoreText): Promise<void> => {
      loads += 1
      await nft.restore(text)
    }
    const backend = createIptablesBackend({ ...nft, restore, update })
    await backend.load(before, facts, undefined)
    expect(loads).toBeGreaterThan(2)
    loads = 0
    await backend.load(after, facts, changedServices(before, after))
    expect(loads).toBeGreaterThan(2)
    const partly = await rules()
    await backend.load(after, facts, undefined)
    expect(await rules()).toEqual(partly)
    loads = 0
    await backend.cleanUp()
    expect(loads).toBeGreaterThan(2)
    expect((await rules()).join('\n')).not.toContain('KUBE')
    const canary = ':KUBE-PROXY-CANARY'
    await backend.load(none, facts, undefined)
    await createIptables({ family: 'IPv4', variant: 'legacy', name: 'iptables-nft' }, netns).restore(
      iptablesText(compileIptables(after, facts)),
    )
    const sorted = (lines: readonly string[]): string[] => lines.filter((line) => !line.startsWith(canary)).toSorted()
    expect(sorted(await rules())).toEqual(sorted(partly))
  })
})

describe('each hour', () => {
  afterEach(() => void vi.useRealTimers())

  test.each([
    ['is loaded again', 500, true],
    ['is not when it is large', 501, false],
  ])('all of a cluster %s', async (_, count, renewed) => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const texts: string[] = []
    const restore = async (text: RestoreText): Promise<void> => void texts.push(joined([text].flat()))
    const iptables: Pick<Iptables, 'family' | 'variant' | 'restore' | 'update'> = {
      family: 'IPv4',
      variant: 'legacy',
      restore,
      update: async (textsOf) => {
        for (const text of await textsOf(new Map())) await restore(text)
      },
    }
    const proxier = createFamilyProxier({
      backend: createIptablesBackend(iptables as Iptables),
      facts,
      counts: () => false,
      netns: undefined,
      metrics: { synced: () => {}, programmed: () => {}, cleaned: () => {} },
      log: silentLogger,
    })
    const place = { nodeName: 'n', zone: '', serviceCIDRs: [], triggers: [] }
    const objects = (index: number, shift = 0) => {
      const one = service(index, 2, shift)
      return [`shop/web-${index}`, { service: one.service, slices: [one.slice] }] as const
    }
    const all = new Map(Array.from({ length: count }, (_, index) => objects(index)))
    await proxier.sync({ ...place, changes: all })
    vi.setSystemTime(Date.now() + 61 * 60 * 1000)
    await proxier.sync({ ...place, changes: new Map([objects(1, 9)]) })
    expect(texts.map((text) => text.includes(':KUBE-PROXY-CANARY'))).toEqual([true, renewed])
    expect(texts[1]).toContain('10.137.0.1:8080')
  })
})
