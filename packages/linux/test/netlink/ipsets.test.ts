import { expect, test } from 'vitest'
import type { Ipset } from '../../src/index.ts'
import { canonicalEntry } from '../../src/index.ts'
import { makeNetworks } from './networks.ts'

const sets: { set: Ipset; entries: string[]; printed?: string[] }[] = [
  { set: { name: 'ips', type: 'hash:ip', family: 4 }, entries: ['10.0.0.1', '10.0.0.2'] },
  { set: { name: 'ips6', type: 'hash:ip', family: 6 }, entries: ['fd00::1', 'fd00::2'] },
  {
    set: { name: 'ports', type: 'hash:ip,port', family: 4, maxEntries: 4 },
    entries: ['10.0.0.1,tcp:80', '10.0.0.1,udp:80', '10.0.0.1,sctp:65535'],
  },
  { set: { name: 'hairpin6', type: 'hash:ip,port,ip', family: 6 }, entries: ['fd00::1,tcp:80,fd00::1'] },
  {
    set: { name: 'ranges', type: 'hash:ip,port,net', family: 4 },
    entries: ['10.0.0.1,tcp:80,10.9.7.0/20', '10.0.0.1,tcp:80,10.8.0.1/32'],
    printed: ['10.0.0.1,tcp:80,10.9.0.0/20', '10.0.0.1,tcp:80,10.8.0.1'],
  },
  { set: { name: 'numbers', type: 'bitmap:port' }, entries: ['0', '30000', '65535'] },
]

test('sets of all types take entries, and are read back as ipset prints them', async () => {
  using net = makeNetworks()
  const { ipsets } = net.out
  for (const { set } of sets) await ipsets.create(set)
  await ipsets.change(sets.map(({ set, entries }) => ({ set, add: entries })))
  // What is there already is passed over.
  await ipsets.change(sets.map(({ set, entries }) => ({ set, add: entries })))
  for (const { set, entries, printed = entries } of sets) {
    const found = await ipsets.get(set.name)
    const most = set.type === 'bitmap:port' ? {} : { maxEntries: 65_536 }
    expect({ ...found, entries: [] }).toEqual({ ...most, ...set, entries: [] })
    expect(found?.entries.toSorted()).toEqual(printed.toSorted())
    expect(entries.map((entry) => canonicalEntry(set.type, entry))).toEqual(printed)
    const lines = net.run('ipset', 'list', set.name).split('Members:\n')[1]?.trim().split('\n')
    expect(lines?.toSorted()).toEqual(printed.toSorted())
  }
  const listed = await ipsets.list()
  expect(listed.map(({ name }) => name).toSorted()).toEqual(sets.map(({ set }) => set.name).toSorted())
  for (const { set, entries } of sets) await ipsets.change([{ set, delete: [...entries, ...entries] }])
  expect((await ipsets.list()).flatMap((set) => set.entries)).toEqual([])
  for (const { set } of sets) {
    await ipsets.destroy(set.name)
    await ipsets.destroy(set.name)
  }
  expect(await ipsets.list()).toEqual([])
  expect(await ipsets.get('ips')).toBeUndefined()
})

test('thousands of entries go in and come back whole, and are flushed at once', async () => {
  using net = makeNetworks()
  const { ipsets } = net.out
  const set: Ipset = { name: 'many', type: 'hash:ip,port', family: 4 }
  const entries = Array.from({ length: 5000 }, (_, index) => `10.0.${index >> 8}.${index & 255},tcp:80`)
  await ipsets.create(set)
  await ipsets.change([{ set, add: entries }])
  expect((await ipsets.get('many'))?.entries.toSorted()).toEqual(entries.toSorted())
  await ipsets.change([{ set, delete: entries.slice(1000) }])
  expect((await ipsets.get('many'))?.entries.toSorted()).toEqual(entries.slice(0, 1000).toSorted())
  await ipsets.flush('many')
  expect((await ipsets.get('many'))?.entries).toEqual([])
})

test('refusals have ipset’s own names, and say which entry it was', async () => {
  using net = makeNetworks()
  const { ipsets } = net.out
  const set: Ipset = { name: 'few', type: 'hash:ip', family: 4, maxEntries: 1 }
  await expect(ipsets.flush('few')).rejects.toThrow('ENOENT: flush set few')
  await ipsets.create(set)
  await expect(ipsets.create(set)).rejects.toThrow('EEXIST: create set hash:ip few')
  const wide: Ipset = { name: 'wide', type: 'hash:ip,port', family: 4 }
  await ipsets.create(wide)
  const full = Array.from({ length: 200 }, (_, index) => `10.0.0.${index}`)
  await expect(ipsets.change([{ set, add: full }])).rejects.toThrow(/^IPSET_ERR_HASH_FULL: add entry to set few 10\./)
  const rule = ['-A', 'INPUT', '-m', 'set', '--match-set', 'few', 'src', '-j', 'DROP']
  net.run('iptables', ...rule)
  await expect(ipsets.destroy('few')).rejects.toThrow('IPSET_ERR_BUSY: destroy set few')
  expect((await ipsets.get('few'))?.entries).toHaveLength(1)
  expect(await net.inside.ipsets.list()).toEqual([])
  const garbage = [
    '10.0.0.1',
    '10.0.0.1,80',
    '10.0.0.1,tcp:',
    '10.0.0.1,tcp:99999',
    '10.0.0.256,tcp:1',
    '1,2,3',
    'fd00::1,tcp:1',
  ]
  for (const entry of garbage) await expect(ipsets.change([{ set: wide, add: [entry] }])).rejects.toThrow(RangeError)
})
