// What a kernel says of the worked examples once they are loaded: rules, chains, jumps, and the order of all.
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createIptablesBackend } from '../src/apply/iptables-backend.ts'
import { openIptables } from '../src/apply/iptables-tools.ts'
import { runProgram } from '../src/apply/program.ts'
import { silentLogger as log } from '../src/log.ts'
import { exampleGraph, exampleNames, golden, nodeFacts, readExample } from './example.ts'

const names = exampleNames().filter((name) => existsSync(new URL(`./golden/${name}.iptables-save`, import.meta.url)))

let folder: string
let netns: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-read-back-'))
  netns = join(folder, 'net')
  pinNamespaces({ paths: { net: netns } })
})
afterEach(() => {
  unpinNamespace(netns)
  rmSync(folder, { recursive: true })
})

/** Without comments, counters, and the canary of which the examples know nothing. */
const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#') && !line.includes('KUBE-PROXY-CANARY'))
    .map((line) => line.replace(/ \[\d+:\d+\]$/, ''))

const saved = async (): Promise<string[]> => {
  const tables = ['filter', 'nat'].map((table) => runProgram('iptables-nft-save', ['-t', table], { netns }))
  return linesOf((await Promise.all(tables)).map(({ stdout }) => stdout).join(''))
}

async function load(name: string): Promise<void> {
  const { facts, list } = readExample(name)
  const backend = createIptablesBackend(await openIptables('IPv4', { netns, variant: 'nft', log }))
  await backend.load(exampleGraph(facts, list.items, 'IPv4'), nodeFacts(facts), undefined)
}

it.each(names)('%s', async (name) => {
  await load(name)
  expect(await saved()).toEqual(linesOf(golden(`${name}.iptables-save`)))
})

it('what is in the chain that is shared with a kubelet stays where no node port answers on loopback', async () => {
  const rule = '-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP'
  await runProgram('iptables-nft', ['-N', 'KUBE-FIREWALL'], { netns })
  await runProgram('iptables-nft', rule.split(' '), { netns })
  await load('14-options')
  expect(await saved()).toEqual(
    expect.arrayContaining([rule, '-A INPUT -j KUBE-FIREWALL', '-A OUTPUT -j KUBE-FIREWALL']),
  )
})
