// What iptables and nft do otherwise than one thinks: each trap is sprung in a kernel, and our texts walk around it.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inNamespace, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import {
  changedServices,
  compileIptables,
  compileNftables,
  iptablesChangeText,
  iptablesRuleset,
  iptablesText,
  nftablesChangeText,
  nftablesText,
  serviceGraph,
  traceService,
} from '@nodelet/proxy-rules'
import type { IPFamily, ServiceGraph } from '@nodelet/proxy-rules'
import type { ServiceSpec } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createIptablesBackend } from '../src/apply/iptables-backend.ts'
import { openIptables } from '../src/apply/iptables-tools.ts'
import { runProgram } from '../src/apply/program.ts'
import { facts } from './changing-cluster.ts'
import { exampleGraph, exampleNames, golden, nodeFacts, readExample } from './example.ts'
import { normalise } from './normalise.ts'

const variants = ['nft', 'legacy'] as const
type Variant = (typeof variants)[number]

let folder: string
let netns: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-traps-'))
  netns = join(folder, 'net')
  pinNamespaces({ paths: { net: netns } })
})
afterAll(() => {
  unpinNamespace(netns)
  rmSync(folder, { recursive: true })
})

const run = (program: string, args: readonly string[], input = '') => runProgram(program, args, { netns, input })
/** What is said to a text, or nothing when it is taken. */
async function refusal(program: string, args: readonly string[], input: string): Promise<string> {
  const { code, stderr } = await run(program, args, input)
  return code === 0 ? '' : `${code} ${stderr}`
}
const restore = (variant: Variant, text: string, family: IPFamily = 'IPv4'): Promise<string> =>
  refusal(`${family === 'IPv4' ? 'iptables' : 'ip6tables'}-${variant}-restore`, ['--noflush', '--counters'], text)
const nft = (text: string): Promise<string> => refusal('nft', ['-f', '-'], text)

interface Web {
  name?: string
  addresses?: readonly string[]
  spec?: ServiceSpec
}

/** Services with endpoints here, one after the other. */
function graphOf(...webs: Web[]): ServiceGraph {
  return serviceGraph({
    family: 'IPv4',
    nodeName: 'here',
    zone: '',
    services: webs.map(({ name = 'web', spec }, index) => ({
      metadata: { namespace: 'shop', name },
      spec: { clusterIP: `10.96.0.${index + 1}`, ports: [{ port: 80 }], ...spec },
    })),
    endpointSlices: webs.map(({ name = 'web', addresses = ['10.244.1.2'] }) => ({
      metadata: { namespace: 'shop', name, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      endpoints: addresses.map((address) => ({ addresses: [address], nodeName: 'here' })),
      ports: [{ name: '', port: 8080 }],
    })),
  })
}

const affinity: ServiceSpec = {
  sessionAffinity: 'ClientIP',
  sessionAffinityConfig: { clientIP: { timeoutSeconds: 10_800 } },
}

describe.each(variants)('iptables-%s', (variant) => {
  afterEach(async () => {
    await createIptablesBackend(await openIptables('IPv4', { netns, variant })).cleanUp()
  })
  const open = async (family: IPFamily = 'IPv4') =>
    createIptablesBackend(await openIptables(family, { netns, variant }), { netns })
  const saved = async (table: string): Promise<string> =>
    (await run(`iptables-${variant}-save`, ['-t', table])).stdout.replace(/^#.*\n/gm, '').replace(/ \[\d+:\d+\]$/gm, '')

  const readBack = exampleNames().filter((name) =>
    existsSync(new URL(`./golden/${name}.iptables-save`, import.meta.url)),
  )
  test.each(readBack)(
    'what is read back is not what was written: %s, and a second start is not led astray (18.1)',
    async (name) => {
      const { facts: said, list } = readExample(name)
      const graph = exampleGraph(said, list.items, 'IPv4')
      const backend = await open()
      const ours = async (): Promise<string> =>
        normalise(`${await saved('filter')}${await saved('nat')}`.replace(/^:KUBE-PROXY-CANARY .*\n/gm, ''))
      await backend.load(graph, nodeFacts(said), undefined)
      const once = await ours()
      expect(once).toBe(normalise(golden(`${name}.iptables-save`).replaceAll(/ \[\d+:\d+\]$/gm, '')))
      expect(once).not.toContain('-j MARK --or-mark')
      await (await open()).load(graph, nodeFacts(said), undefined)
      expect(await ours()).toBe(once)
    },
  )

  test('a translation to a port needs the protocol before it, and brackets around IPv6 (18.3)', async () => {
    const rule = (text: string): string => `*nat\n:KUBE-SEP-TRAP - [0:0]\n-A KUBE-SEP-TRAP ${text}\nCOMMIT\n`
    const told = 'Need TCP, UDP, SCTP or DCCP with port specification'
    expect(await restore(variant, rule('-j DNAT --to-destination 10.0.0.1:80'))).toContain(told)
    expect(await restore(variant, rule('-j DNAT --to-destination 10.0.0.1:80 -p tcp -m tcp'))).toContain(told)
    // Taken for an address that nobody means.
    expect(await restore(variant, rule('-p tcp -m tcp -j DNAT --to-destination fd00::1:80'), 'IPv6')).toBe('')
    const { facts: said, list } = readExample('11-dual-stack')
    for (const family of ['IPv4', 'IPv6'] as const) {
      const program = compileIptables(exampleGraph(said, list.items, family), nodeFacts(said))
      const rules = program.tables.flatMap(({ table, rules: own }) => own.map(({ args }) => ({ table, args })))
      const translations = rules.filter(({ args }) => args.includes('DNAT'))
      expect(translations.length).toBeGreaterThan(0)
      for (const { table, args } of translations) {
        expect(table).toBe('nat')
        expect(args.slice(-8, -1)).toEqual(['-m', 'tcp', '-p', 'tcp', '-j', 'DNAT', '--to-destination'])
        expect(args.at(-1)).toMatch(family === 'IPv4' ? /^[\d.]+:\d+$/ : /^\[[0-9a-f:]+\]:\d+$/)
      }
      expect(await restore(variant, iptablesText(program), family)).toBe('')
    }
    await createIptablesBackend(await openIptables('IPv6', { netns, variant })).cleanUp()
  })

  test('a chain that is still led to cannot be deleted: all stale ones are emptied first (18.6)', async () => {
    const spec: ServiceSpec = {
      type: 'LoadBalancer',
      externalIPs: ['203.0.113.1'],
      ports: [{ port: 80, nodePort: 30_080 }],
    }
    const before = graphOf({ spec, addresses: ['10.244.1.2', '10.244.1.3'] })
    const none = graphOf()
    const backend = await open()
    await backend.load(before, facts, undefined)
    const chains = [...(await saved('nat')).matchAll(/^:(KUBE-(?:EXT|SVC|SEP)-\S+)/gm)].map(([, name = '']) => name)
    expect(chains).toHaveLength(4)
    const endpoint = chains.find((name) => name.startsWith('KUBE-SEP-'))
    expect(await restore(variant, `*nat\n:${endpoint} - [0:0]\n-X ${endpoint}\nCOMMIT\n`)).toMatch(/^[14] /)
    const text = iptablesChangeText(iptablesRuleset(before, facts), iptablesRuleset(none, facts))
    const lines = text.split('\n')
    const lastEmptied = lines.findLastIndex((line) => line.startsWith(':KUBE-'))
    expect(lines.findIndex((line) => line.startsWith('-X'))).toBeGreaterThan(lastEmptied)
    expect(await restore(variant, text)).toBe('')
    for (const chain of chains) expect(await saved('nat')).not.toContain(chain)
  })

  test('to declare a chain is to empty it, and no other: what is not rewritten is not declared (18.7)', async () => {
    const [before, after] = [['10.244.1.2'], ['10.244.1.2', '10.244.1.3']].map((addresses) =>
      graphOf({ name: 'one', addresses }, { name: 'two', addresses: ['10.244.1.9'] }),
    ) as [ServiceGraph, ServiceGraph]
    const backend = await open()
    await backend.load(before, facts, undefined)
    const of = async (name: string): Promise<string[]> =>
      (await saved('nat')).split('\n').filter((line) => line.includes(`shop/${name}`))
    const two = await of('two')
    const text = iptablesChangeText(iptablesRuleset(before, facts), iptablesRuleset(after, facts))
    const named = (start: RegExp): Set<string> => new Set([...text.matchAll(start)].map(([, chain = '']) => chain))
    const written = named(/^-[AX] (\S+)/gm)
    for (const chain of named(/^:(\S+)/gm)) expect([...written]).toContain(chain)
    await backend.load(after, facts, changedServices(before, after))
    expect(await of('two')).toEqual(two)
    expect((await of('one')).length).toBeGreaterThan(4)
    const chain = /KUBE-SVC-\S+/.exec(two.join('\n'))?.[0]
    expect(await restore(variant, `*nat\n:${chain} - [0:0]\nCOMMIT\n`)).toBe('')
    expect((await saved('nat')).split('\n').filter((line) => line.startsWith(`-A ${chain} `))).toEqual([])
    expect(await of('two')).toEqual(two.filter((line) => !line.startsWith(`-A ${chain} `)))
  })

  test('each endpoint has a list of its clients, that outlives loads and has room for so many (18.8)', async () => {
    const [before, after] = [
      ['10.244.1.2', '10.244.1.3'],
      ['10.244.1.2', '10.244.1.4'],
    ].map((addresses) => graphOf({ spec: affinity, addresses })) as [ServiceGraph, ServiceGraph]
    const lists = '/proc/thread-self/net/xt_recent'
    const list = (name: string): string => inNamespace('net', netns, () => readFileSync(join(lists, name), 'utf8'))
    const remember = (name: string, address: string): void =>
      inNamespace('net', netns, () => writeFileSync(join(lists, name), `+${address}\n`))
    const endpoints = async (): Promise<string[]> =>
      [...(await saved('nat')).matchAll(/^-A (KUBE-SEP-\S+) .*--to-destination (\S+)/gm)]
        .toSorted(([, , one = ''], [, , two = '']) => (one < two ? -1 : 1))
        .map(([, name = '']) => name)
    const backend = await open()
    await backend.load(before, facts, undefined)
    const [stays = '', goes = ''] = await endpoints()
    for (const [name, address] of [
      [stays, '198.51.100.1'],
      [goes, '198.51.100.2'],
    ] as const)
      remember(name, address)
    await backend.load(after, facts, changedServices(before, after))
    await (await open()).load(after, facts, undefined)
    expect(list(stays)).toMatch(/^src=198\.51\.100\.1 /)
    expect(list(stays)).not.toContain('198.51.100.2')
    expect(() => list(goes)).toThrow('ENOENT')
    const room = Number(readFileSync('/sys/module/xt_recent/parameters/ip_list_tot', 'utf8'))
    for (let at = 0; at < room; at += 1) remember(stays, `198.51.${101 + (at >> 8)}.${at & 255}`)
    expect(list(stays).trim().split('\n')).toHaveLength(room)
    expect(list(stays)).not.toContain('198.51.100.1 ')
  })

  test('of two Services that claim an external IP both have rules, and the first of these wins (18.11)', async () => {
    const spec: ServiceSpec = { externalIPs: ['203.0.113.1'] }
    const both = [
      { name: 'one', spec, addresses: ['10.244.1.2'] },
      { name: 'two', spec, addresses: ['10.244.1.3'] },
    ]
    const graph = graphOf(...both)
    const backend = await open()
    await backend.load(graph, facts, undefined)
    const claims = (await saved('nat')).split('\n').filter((line) => line.includes('-d 203.0.113.1/32'))
    expect(claims.map((line) => /shop\/\w+/.exec(line)?.[0])).toEqual(['shop/one', 'shop/two'])
    const leads = (to: ServiceGraph): (string | undefined)[] =>
      traceService(
        compileIptables(to, facts),
        {
          protocol: 'TCP',
          source: '198.51.100.7',
          destination: '203.0.113.1',
          destinationPort: 80,
          inputInterface: 'eth0',
        },
        facts,
      ).map(({ translation }) => translation?.address)
    expect(leads(graph)).toEqual(['10.244.1.2'])
    expect(leads(graphOf(...both.slice(1)))).toEqual(['10.244.1.3'])
  })
})

describe.skipIf(process.env['UML'])('nft', () => {
  afterEach(() => nft('flush ruleset'))

  test.each(['compat', 'fast'] as const)(
    'an element cannot get another verdict: it is deleted and added in one transaction (18.10): %s',
    async (layout) => {
      const compile = (spec: ServiceSpec) => compileNftables(graphOf({ spec }), facts, { layout })
      const [before, after] = [compile({}), compile({ internalTrafficPolicy: 'Local' })]
      expect(await nft(nftablesText(before))).toBe('')
      const element = (target: string): string =>
        `add element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 : ${target} }\n`
      const { stdout } = await run('nft', ['list', 'map', 'ip', 'kube-proxy', 'service-ips'])
      const [same = ''] = /goto service-\S+/.exec(stdout) ?? []
      expect(await nft(element(same))).toBe('')
      expect(await nft(element('drop'))).toContain('File exists')
      const text = nftablesChangeText(before, after, [])
      expect(text.indexOf('delete element ip kube-proxy service-ips')).toBeLessThan(
        text.indexOf('add element ip kube-proxy service-ips'),
      )
      expect(text).toContain('delete element ip kube-proxy service-ips')
      expect(await nft(text)).toBe('')
      const { stdout: changed } = await run('nft', ['list', 'map', 'ip', 'kube-proxy', 'service-ips'])
      expect(changed).toContain('10.96.0.1 . tcp . 80 : goto local-')
      expect(changed).not.toContain('goto service-')
    },
  )
})
