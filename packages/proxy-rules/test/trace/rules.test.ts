// What the tracer reads, what it refuses to guess, and what it says of single packets.
import { compileIptables, compileIpvs, compileNftables, packetMeaning, traceService } from '@nodelet/proxy-rules'
import type { Packet } from '@nodelet/proxy-rules'
import { describe, expect, it, test } from 'vitest'
import { iptablesJumps, ipvsJumps, withMissingJumps } from '../../src/apply/jumps.ts'
import { parseIptablesRule } from '../../src/trace/iptables-rule.ts'
import { parseNftablesRule } from '../../src/trace/nftables-rule.ts'
import { exampleGraph, exampleNames, nodeFacts, readExample } from '../example.ts'

const examples = exampleNames().flatMap((name) => {
  const { facts, list } = readExample(name)
  return facts.ipFamilies.map((family) => ({
    name,
    family,
    facts: nodeFacts(facts),
    graph: exampleGraph(facts, list.items, family),
  }))
})

test.each(examples)('every rule of $name, $family, is known', ({ facts, graph, family }) => {
  const { tables } = withMissingJumps(compileIptables(graph, facts), new Map(), iptablesJumps)
  const glue = withMissingJumps(compileIpvs(graph, facts).glue, new Map(), ipvsJumps)
  for (const { rules, insertions = [] } of [...tables, ...glue.tables])
    for (const { args } of [...rules, ...insertions]) expect(() => parseIptablesRule(args)).not.toThrow()
  for (const layout of ['compat', 'fast'] as const) {
    const { shared, services } = compileNftables(graph, facts, { layout })
    const rules = [shared, ...services].flatMap(({ chains }) => chains).flatMap((chain) => chain.rules)
    for (const rule of rules) expect(parseNftablesRule(rule, family === 'IPv4' ? 'ip' : 'ip6')).not.toEqual([])
  }
})

test.each([
  '-m string --string x -j DROP',
  '-m tcp -p tcp --sport 80 -j DROP',
  '-p icmp -j DROP',
  '-p tcp --dport 80 -j DROP',
  '! -p tcp -j DROP',
  '-m conntrack --ctstate UNTRACKED -j DROP',
  '-m addrtype --dst-type MULTICAST -j DROP',
  '-m statistic --mode nth -j DROP',
  '-m tcp --dport',
  '-s nowhere -j DROP',
  '-j LOG',
  '--match-set KUBE-CLUSTER-IP dst,dst -j DROP',
  '-m set --match-set KUBE-CLUSTER-IP -j DROP',
  '-m set --match-set KUBE-CLUSTER-IP dst,out -j DROP',
  '-m set ! --match-set KUBE-CLUSTER-IP dst,dst -j DROP',
  '-m physdev --physdev-is-bridged -j DROP',
  '-m ipvs --vdir REPLY -j DROP',
  '-j DROP --with-care',
  '-j REJECT --reject-with tcp-reset',
  '-j MARK --set-mark 1',
  '-j MASQUERADE --random',
  '-j',
])('iptables rule %s is not passed over', (rule) => {
  expect(() => parseIptablesRule(rule.split(' '))).toThrow(/the tracer knows no/)
})

test.each([
  'accept',
  'tcp dport 80 drop',
  'ip6 saddr fd00::1 drop',
  'ip saddr nowhere drop',
  'ct state established drop',
  'ct status snat drop',
  'fib daddr type multicast drop',
  'meta l4proto icmp drop',
  'ip daddr . ip saddr 10.0.0.1 drop',
  'ip daddr vmap { 10.0.0.1 : drop }',
  'numgen inc mod 2 0 drop',
  'numgen random mod 2 1 drop',
  'numgen random mod 3 vmap { 0 : goto a , 1 : goto b }',
  'numgen random mod 2 vmap { 1 : goto a , 0 : goto b }',
  'mark set 1',
  'masquerade',
  'limit rate 1/second drop',
  'counter',
  'goto',
])('nftables rule %s is not passed over', (rule) => {
  expect(() => parseNftablesRule(rule, 'ip')).toThrow(/the tracer knows no/)
})

describe('a Service with three endpoints', () => {
  const { graph, facts } = examples[0] as (typeof examples)[0]
  const [node] = graph.nodes
  const packet: Packet = {
    protocol: 'TCP',
    source: '192.0.2.77',
    destination: node?.port.clusterIP ?? '',
    destinationPort: node?.port.port ?? 0,
    inputInterface: 'eth0',
  }
  const iptables = compileIptables(graph, facts)
  const compat = compileNftables(graph, facts, { layout: 'compat' })
  const programs = [
    { name: 'iptables', program: iptables },
    { name: 'nftables compat', program: compat },
    { name: 'nftables fast', program: compileNftables(graph, facts) },
    { name: 'ipvs', program: compileIpvs(graph, facts) },
  ]

  it('passes these rules', () => {
    const [first] = traceService(iptables, packet, facts)
    expect(first?.rules.map(({ table, chain }) => `${table} ${chain.replace(/-[A-Z0-9]{16}$/, '-…')}`)).toEqual([
      'nat PREROUTING',
      'nat KUBE-SERVICES',
      'nat KUBE-SVC-…',
      'nat KUBE-MARK-MASQ',
      'nat KUBE-SVC-…',
      'nat KUBE-SEP-…',
      'filter FORWARD',
      'filter FORWARD',
      'filter KUBE-FORWARD',
      'nat POSTROUTING',
      'nat KUBE-POSTROUTING',
      'nat KUBE-POSTROUTING',
    ])
    const [other] = traceService(compat, packet, facts)
    expect(other?.rules.find(({ element }) => element)).toEqual({
      chain: 'services',
      rule: 'ip daddr . meta l4proto . th dport vmap @service-ips',
      element: '172.30.0.41 . tcp . 80 : goto service-DK7ABAZC-ns1/web/tcp/http',
    })
    const [third] = traceService(compileIpvs(graph, facts), packet, facts)
    const names = third?.rules.map(({ table, chain, element }) => [table, chain, element].filter(Boolean).join(' '))
    expect(names).toEqual([
      'nat PREROUTING',
      'nat KUBE-SERVICES',
      'nat KUBE-MARK-MASQ',
      'nat KUBE-SERVICES',
      'nat KUBE-SERVICES',
      'filter INPUT',
      'filter KUBE-IPVS-FILTER',
      'filter INPUT',
      'filter INPUT',
      'ipvs INPUT 10.244.1.10:8080',
      'filter OUTPUT',
      'nat POSTROUTING',
      'nat KUBE-POSTROUTING',
      'nat KUBE-POSTROUTING',
    ])
  })

  it.each(programs)('$name: a number chooses one way, each endpoint as often as the others', ({ program }) => {
    const counts = new Map<string, number>()
    for (let step = 0; step < 30; step += 1) {
      const traces = traceService(program, packet, facts, { choice: (step + 0.5) / 30 })
      expect(traces).toHaveLength(1)
      expect(traces[0]?.probability).toBeCloseTo(1 / 3, 8)
      const to = JSON.stringify(traces[0]?.translation)
      counts.set(to, (counts.get(to) ?? 0) + 1)
    }
    expect([...counts.values()]).toEqual([10, 10, 10])
  })

  it('is meant so', () => {
    expect(packetMeaning(graph, facts, packet, 'iptables')).toMatchObject({
      service: 'ns1/web:http',
      front: 'cluster IP',
      outcomes: [{ masquerade: true }, { masquerade: true }, { masquerade: true }],
    })
  })

  it.each([
    [{ protocol: 'ICMP' }, 'packet: protocol "ICMP"'],
    [{ source: 'fd00::1' }, 'packet: source "fd00::1" is no IPv4 address'],
    [{ destination: 'x' }, 'packet: destination "x" is no IPv4 address'],
    [{ destinationPort: 0 }, 'packet: destinationPort 0 is no port'],
    [{ sourcePort: 65_536 }, 'packet: sourcePort 65536 is no port'],
    [{ mark: -1 }, 'packet: mark -1'],
    [{ state: 'related' }, 'packet: state "related"'],
  ])('a packet with %o is refused', (wrong, message) => {
    expect(() => traceService(iptables, { ...packet, ...wrong } as Packet, facts)).toThrow(message)
    expect(() => packetMeaning(graph, facts, { ...packet, ...wrong } as Packet, 'iptables')).toThrow(message)
  })

  it('IP sets that the program lacks are not taken for empty ones', () => {
    const { glue } = compileIpvs(graph, facts)
    expect(() => traceService(glue, packet, facts)).toThrow('iptables program: it has no IP set KUBE-')
  })

  it('a partial program and a choice out of range are refused', () => {
    const partial = compileIptables(graph, facts, { changed: new Set() })
    expect(() => traceService(partial, packet, facts)).toThrow(/has no chain KUBE-SVC-\w+; compile it whole/)
    expect(() => traceService(iptables, packet, facts, { choice: 1 })).toThrow('choice: 1')
  })
})
