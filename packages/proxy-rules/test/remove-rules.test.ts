// kube-proxy --cleanup: everything of every mode goes, and nothing else.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isNamespacePinned, openNetlink, pinNamespaces, unpinNamespace } from '@nodelet/linux'
import {
  compileIptables,
  compileIpvs,
  iptablesText,
  nftablesText,
  compileNftables,
  removeProxyRules,
} from '@nodelet/proxy-rules'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { removeOtherModes } from '../src/apply/other-mode.ts'
import { silentLogger } from '../src/log.ts'
import { openIptables } from '../src/apply/iptables-tools.ts'
import { ensurePacketCounters } from '../src/apply/packet-counters.ts'
import { runProgram } from '../src/apply/program.ts'
import { ipSets } from '../src/ipvs/sets.ts'
import { exampleGraph, nodeFacts, readExample } from './example.ts'

const folder = mkdtempSync(join(tmpdir(), 'nodelet-remove-'))
const netns = join(folder, 'net')
beforeAll(() => pinNamespaces({ paths: { net: netns } }))
afterAll(() => {
  if (isNamespacePinned(netns)) unpinNamespace(netns)
  rmSync(folder, { recursive: true })
})

const run = async (program: string, ...args: string[]): Promise<string> => {
  const { code, stdout, stderr } = await runProgram(program, args, { netns })
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: ${code} ${stderr}`)
  return stdout
}
const { facts, list } = readExample('05-loadbalancer-source-ranges')
const graph = exampleGraph(facts, list.items, 'IPv4')
const rules = compileIptables(graph, { ...nodeFacts(facts), nfacct: true })

/** The guest of tools/uml-run has IPVS, and no nf_tables: there only the last test runs. */
const hasNft = (await runProgram('nft', ['-c', 'add table ip6 kube-proxy'])).code === 0
const hasIpvs = async (): Promise<boolean> => {
  using netlink = openNetlink()
  return (await netlink.ipvs.version()) !== undefined
}

/** All that the network namespace has. */
async function everything(): Promise<string[]> {
  const saved = ['iptables-nft-save', 'iptables-legacy-save', 'ip6tables-nft-save', 'ip6tables-legacy-save']
  const texts = await Promise.all(saved.map(async (program) => run(program)))
  using netlink = openNetlink({ netns })
  return [
    ...texts.flatMap((text) => text.split('\n').filter((line) => /^(-A|:KUBE)/.test(line))),
    ...(await run('nft', 'list', 'tables')).split('\n').filter((line) => line.includes('kube-proxy')),
    ...(await netlink.links.list()).map(({ name }) => name),
    ...(await netlink.ipsets.list()).map(({ name }) => name),
    ...(await netlink.accounting.list()).map(({ name }) => name),
    ...((await netlink.ipvs.version()) === undefined ? [] : (await netlink.ipvs.list()).map(({ address }) => address)),
  ]
}

/** As a proxy of the mode IPVS leaves it. */
async function leaveIpvs(): Promise<void> {
  using netlink = openNetlink({ netns })
  for (const { name, type } of ipSets('IPv4'))
    await netlink.ipsets.create({ name, type, ...(type.startsWith('hash') && { family: 4 }) })
  // Without source ranges: for these the kernel would need xt_ipvs.
  const { facts: plain, list: objects } = readExample('03-nodeport-cluster')
  const { glue } = compileIpvs(exampleGraph(plain, objects.items, 'IPv4'), nodeFacts(plain))
  await (await openIptables('IPv4', { netns })).restore(iptablesText(glue))
  // A kernel that has no dummy links has others.
  await netlink.links.add({ name: 'kube-ipvs0', kind: 'bridge' })
}

test.skipIf(!hasNft)('all modes in both variants of iptables go, what others have stays', async () => {
  await run('iptables-nft', '-t', 'nat', '-A', 'POSTROUTING', '-s', '203.0.113.0/24', '-j', 'MASQUERADE')
  await run('iptables-legacy', '-A', 'FORWARD', '-s', '203.0.113.0/24', '-j', 'ACCEPT')
  // A kubelet's.
  for (const chain of ['KUBE-IPTABLES-HINT', 'KUBE-KUBELET-CANARY'])
    await run('iptables-nft', '-t', 'mangle', '-N', chain)
  await run('ipset', 'create', 'MINE', 'hash:ip')
  using netlink = openNetlink({ netns })
  await netlink.accounting.ensure('mine')
  const before = await everything()
  for (const variant of ['nft', 'legacy'] as const) {
    await ensurePacketCounters(netns)
    await (await openIptables('IPv4', { netns, variant })).restore(iptablesText(rules))
    await run(`iptables-${variant}`, '-I', 'INPUT', '-j', 'KUBE-NODEPORTS')
    await run(`ip6tables-${variant}`, '-t', 'mangle', '-N', 'KUBE-PROXY-CANARY')
  }
  const table = nftablesText(compileNftables(graph, nodeFacts(facts)))
  await runProgram('nft', ['-f', '-'], { netns, input: table })
  await leaveIpvs()
  const full = await everything()
  expect(full.filter((line) => line.startsWith(':KUBE-SERVICES'))).toHaveLength(4)
  expect(full).toEqual(
    expect.arrayContaining(['table ip kube-proxy', 'kube-ipvs0', 'KUBE-CLUSTER-IP', 'ct_state_invalid_dropped_pkts']),
  )
  await removeProxyRules({ netns })
  expect(await everything()).toEqual(before)
  await removeProxyRules({ netns })
  expect(await everything()).toEqual(before)
})

test.skipIf(!hasNft)('what cannot be removed is told, and does not keep the rest', async () => {
  using netlink = openNetlink({ netns })
  for (const name of ['KUBE-LOOP-BACK', 'KUBE-CLUSTER-IP']) await run('ipset', 'create', name, 'hash:ip')
  // A rule of somebody else.
  await run('iptables', '-A', 'FORWARD', '-m', 'set', '--match-set', 'KUBE-LOOP-BACK', 'src', '-j', 'ACCEPT')
  await run('iptables', '-t', 'nat', '-N', 'KUBE-SERVICES')
  const told: string[] = []
  const log = { error: (_: object, text: string) => void told.push(text), warn() {}, info() {}, debug() {} }
  const removal = removeProxyRules({ netns, log })
  await expect(removal).rejects.toThrow('encountered an error while tearing down rules')
  await expect(removal).rejects.toMatchObject({ errors: [{ code: 'IPSET_ERR_BUSY' }] })
  expect(told).toEqual(['a part of IPVS could not be removed'])
  expect((await netlink.ipsets.list()).map(({ name }) => name)).not.toContain('KUBE-CLUSTER-IP')
  expect(await run('iptables-save')).not.toContain('KUBE-SERVICES')
})

test.skipIf(!(await hasIpvs()))(
  'virtual servers go, with a proxy that has left its link, and with a whole clean-up',
  async () => {
    using netlink = openNetlink({ netns })
    const server = { address: '10.96.0.10', port: 80, protocol: 'tcp', scheduler: 'rr' } as const
    const add = async (): Promise<unknown> => netlink.ipvs.change([{ kind: 'addVirtualServer', server }])
    await add()
    // Without the link they may be of somebody else.
    await removeOtherModes({ mode: 'nftables', iptables: {} }, silentLogger, { netns })
    expect(await netlink.ipvs.list()).toHaveLength(1)
    await netlink.links.add({ name: 'kube-ipvs0', kind: 'dummy' })
    await removeOtherModes({ mode: 'nftables', iptables: {} }, silentLogger, { netns })
    expect(await netlink.ipvs.list()).toEqual([])
    expect(await netlink.links.get('kube-ipvs0')).toBeUndefined()
    await add()
    await removeProxyRules({ netns })
    expect(await netlink.ipvs.list()).toEqual([])
  },
)
