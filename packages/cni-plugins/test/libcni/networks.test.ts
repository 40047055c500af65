import { mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openNetworks } from '../../src/libcni/networks.ts'
import type { Networks } from '../../src/libcni/networks.ts'

let root: string
let folder: string
let networks: Networks
let told: string[]

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nodelet-networks-'))
  folder = join(root, 'cni/net.d')
  told = []
  networks = openNetworks(folder, { warn: ({ err }: { err?: Error }) => told.push(err?.message ?? '') })
})
afterEach(() => {
  networks[Symbol.dispose]()
  rmSync(root, { recursive: true })
})

const put = (file: string, value: object | string): void =>
  writeFileSync(join(folder, file), typeof value === 'string' ? value : JSON.stringify(value))
const list = (name: string, ...types: string[]): object => ({ name, plugins: types.map((type) => ({ type })) })
const now = async (): Promise<unknown[] | undefined> => {
  const found = await networks.current()
  return found && [found.name, ...found.plugins.map(({ type }) => type)]
}

test('the folder is made, and what comes into it is found in order of names', async () => {
  expect(await now()).toBeUndefined()
  expect(statSync(folder).mode & 0o777).toBe(0o700)
  put('20.conflist', list('second', 'a'))
  mkdirSync(join(folder, '00.conflist'))
  put('00.txt', 'nothing')
  expect(await now()).toEqual(['second', 'a'])
  put('10.json', { name: 'first', type: 'b' })
  expect(await now()).toEqual(['first', 'b'])
  rmSync(join(folder, '10.json'))
  renameSync(join(folder, '20.conflist'), join(folder, '30.conf'))
  expect(await now()).toEqual(['second', 'a'])
  rmSync(join(folder, '30.conf'))
  expect(await now()).toBeUndefined()
})

test('plugins come from the folder of the network, too, as they change', async () => {
  await now()
  put('10.conflist', list('n', 'a'))
  expect(await now()).toEqual(['n', 'a'])
  mkdirSync(join(folder, 'n'))
  put('n/20.conf', { type: 'c' })
  put('n/30.json', { type: 'no' })
  expect(await now()).toEqual(['n', 'a', 'c'])
  put('n/10.conf', { type: 'b' })
  expect(await now()).toEqual(['n', 'a', 'b', 'c'])
  put('10.conflist', { ...list('n', 'a'), loadOnlyInlinedPlugins: true })
  expect(await now()).toEqual(['n', 'a'])
  put('10.conflist', { name: 'n' })
  expect(await now()).toEqual(['n', 'b', 'c'])
})

test('a list that is broken is told without being asked, and the former one stays', async () => {
  await now()
  put('10.conflist', '{"name":')
  await expect(now()).rejects.toThrow(/10\.conflist: .*JSON/)
  put('10.conflist', list('n', 'a'))
  expect(await now()).toEqual(['n', 'a'])
  put('05.conflist', list('-', 'b'))
  await expect
    .poll(() => told)
    .toEqual([`${join(folder, '05.conflist')}: name: must be letters, digits, "_", "." and "-", not "-"`])
  expect(await now()).toEqual(['n', 'a'])
  expect(told).toHaveLength(1)
  put('05.conflist', list('m', 'b'))
  expect(await now()).toEqual(['m', 'b'])
})

test('a list that is broken is told without being asked, also where there was none before', async () => {
  await now()
  put('10.conflist', '{"name":')
  await expect.poll(() => told).toEqual([expect.stringMatching(/10\.conflist: .*JSON/)])
})

test('a folder that goes and comes back is followed on', async () => {
  await now()
  put('10.conflist', list('n', 'a'))
  expect(await now()).toEqual(['n', 'a'])
  rmSync(folder, { recursive: true })
  expect(await now()).toBeUndefined()
  mkdirSync(folder, { recursive: true })
  put('10.conflist', list('m', 'a'))
  expect(await now()).toEqual(['m', 'a'])
})

test('however looks and changes meet, the last state is the one that stays', async () => {
  await now()
  const looks: Promise<unknown>[] = []
  for (let at = 0; at <= 100; at += 1) {
    put('10.conflist', list(`n${at}`, 'a'))
    looks.push(now().catch(() => undefined)) // it may see a file half written
    if (at % 3 === 0) await new Promise(setImmediate)
  }
  await Promise.all(looks)
  expect(await now()).toEqual(['n100', 'a'])
  expect(await now()).toEqual(['n100', 'a'])
})
