// nftables programs: the worked examples to the letter, what a kernel makes of them, and what changes carry.
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pinNamespaces, unpinNamespace } from '@nodelet/linux'
import { compileNftables, nftablesChangeText, nftablesText } from '@nodelet/proxy-rules'
import type { IPFamily, NftablesProgram } from '@nodelet/proxy-rules'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { runProgram } from '../src/apply/program.ts'
import { afterStep, exampleGraph, exampleNames, golden, nodeFacts, readExample } from './example.ts'
import { normaliseNft } from './normalise.ts'

const suffix = { IPv4: 'nft', IPv6: 'nft6' } as const
const cases = exampleNames().flatMap((name) =>
  readExample(name).facts.ipFamilies.map((family) => ({ name, family, file: `${name}.${suffix[family]}` })),
)
const lists = cases.filter(({ file }) => existsSync(new URL(`./golden/${file}-list`, import.meta.url)))

let folder: string
let netns: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-nft-'))
  netns = join(folder, 'net')
  pinNamespaces({ paths: { net: netns } })
})
afterAll(() => {
  unpinNamespace(netns)
  rmSync(folder, { recursive: true })
})
beforeEach(() => nft(['flush', 'ruleset']))

async function nft(args: readonly string[], input = ''): Promise<string> {
  const { code, stdout, stderr } = await runProgram('nft', args, { netns, input })
  expect(code, `${stderr.slice(0, 2000)}`).toBe(0)
  return stdout
}

const load = (text: string): Promise<string> => nft(['-f', '-'], text)
const listed = (family: IPFamily = 'IPv4'): Promise<string> =>
  nft(['-s', 'list', 'table', family === 'IPv4' ? 'ip' : 'ip6', 'kube-proxy'])

function compileExample(name: string, family: IPFamily): NftablesProgram {
  const { facts, list } = readExample(name)
  return compileNftables(exampleGraph(facts, list.items, family), nodeFacts(facts), { layout: 'compat' })
}

describe('worked examples', () => {
  it.each(cases)('$file', ({ name, family, file }) => {
    expect(normaliseNft(nftablesText(compileExample(name, family)))).toBe(golden(file))
  })

  it.each(lists)('$file as nft prints it, which is not as it was written (18.2)', async ({ name, family, file }) => {
    await load(normaliseNft(nftablesText(compileExample(name, family))))
    expect(await listed(family)).toBe(golden(`${file}-list`))
  })

  it.each(cases)('$file loads as it is written, twice', async ({ name, family }) => {
    const text = nftablesText(compileExample(name, family))
    await load(text)
    const once = await listed(family)
    await load(text)
    expect(await listed(family)).toBe(once)
  })

  it('16: three changes, and what the kernel holds after them', async () => {
    const { facts, list, steps = [] } = readExample('16-partial-sync')
    let items = list.items
    let graph = exampleGraph(facts, items, 'IPv4')
    let program = compileNftables(graph, nodeFacts(facts), { layout: 'compat' })
    await load(normaliseNft(nftablesText(program)))
    const waiting: string[] = []
    expect(steps).toHaveLength(3)
    for (const [index, step] of steps.entries()) {
      items = afterStep(items, step)
      graph = exampleGraph(facts, items, 'IPv4', graph)
      const next = compileNftables(graph, nodeFacts(facts), { layout: 'compat', previous: program })
      const text = nftablesChangeText(program, next, waiting)
      await load(text)
      const expected = golden(`16-partial-sync.step${index + 1}.nft-tx`)
      expect(text.split('\n').sort().join('\n').trim() + '\n', step.note).toBe(expected)
      if (index === 1) waiting.push('service-ZWJHPSGP-ns1/one/tcp/http')
      program = next
      const present = await listed()
      await nft(['flush', 'ruleset'])
      await load(golden(`16-partial-sync.step${index + 1}.nft`))
      expect(sortedChains(present)).toBe(sortedChains(await listed()))
    }
  })
})

/** A listed table with its objects in the order of their names. */
const sortedChains = (text: string): string =>
  text
    .trim()
    .split(/\n\n|(?<=proxy"\n)/)
    .map((part) => part.replace(/\n\}$/, ''))
    .sort()
    .join('\n')
