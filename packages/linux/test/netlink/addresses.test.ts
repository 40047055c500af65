import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { openNetlink } from '../../src/index.ts'
import type { NewAddress } from '../../src/index.ts'
import { makeNetworks } from './networks.ts'
import type { Networks } from './networks.ts'

const soon = (): AbortSignal => AbortSignal.timeout(20_000)

/** A pair of links that are up. */
async function pair({ out }: Networks): Promise<{ a: number; b: number }> {
  await out.links.add({ kind: 'veth', name: 'a', peer: { name: 'b' } })
  for (const name of ['a', 'b']) await out.links.set(name, { up: true })
  const [a, b] = [await out.links.get('a'), await out.links.get('b')]
  return { a: a?.index ?? 0, b: b?.index ?? 0 }
}

test('many addresses are added and deleted at once; what is so already is passed over', async () => {
  using net = makeNetworks()
  const { addresses } = net.out
  const many = Array.from({ length: 250 }, (_, index) => `10.9.0.${index + 1}/32`)
  await addresses.change('lo', { add: many })
  await addresses.change('lo', { add: many, delete: ['10.8.0.1/32'] })
  const found = await addresses.list({ link: 'lo', family: 4 })
  expect(found.map(({ address }) => address).toSorted()).toEqual(many.toSorted())
  await addresses.change('lo', { delete: many.slice(1), add: ['fd00::1/128'] })
  expect((await addresses.list({ link: 'lo' })).map(({ address }) => address)).toEqual(['10.9.0.1/32', 'fd00::1/128'])
  await expect(addresses.change('none', { add: many })).rejects.toThrow('ENODEV: get link none')
})

test('addresses with all their options', async () => {
  using net = makeNetworks()
  const { out } = net
  const { a } = await pair(net)
  await out.addresses.add('a', '10.9.0.1/24')
  await out.addresses.add(a, { address: '10.9.1.1/32', scope: 'link', label: 'a:1', flags: { noPrefixRoute: true } })
  await out.addresses.add(a, { address: '10.9.2.1/24', broadcast: null, metric: 77 })
  await out.addresses.add(a, { address: '10.9.3.1/24', broadcast: '10.9.3.7' })
  await out.addresses.add(a, { address: '10.9.4.1/32', peer: '10.9.5.1/24' })
  await out.addresses.add('lo', '127.0.0.9/8')
  await out.addresses.add(a, { address: 'fd00::1/64', flags: { noDad: true, noPrefixRoute: true } })
  await out.addresses.add(a, { address: 'fd01::1/64', lifetime: { validSeconds: 1000, preferredSeconds: 500 } })
  const four = await out.addresses.list({ link: a, family: 4 })
  const permanent = { permanent: true }
  expect(four).toHaveLength(5)
  for (const expected of [
    expect.objectContaining({
      address: '10.9.0.1/24',
      broadcast: '10.9.0.255',
      scope: 'global',
      label: 'a',
      family: 4,
    }),
    expect.objectContaining({
      address: '10.9.1.1/32',
      scope: 'link',
      label: 'a:1',
      flags: { ...permanent, noPrefixRoute: true },
    }),
    expect.objectContaining({ address: '10.9.2.1/24', metric: 77, flags: permanent }),
    expect.objectContaining({ address: '10.9.3.1/24', broadcast: '10.9.3.7' }),
    expect.objectContaining({ address: '10.9.4.1/32', peer: '10.9.5.1/24' }),
  ])
    expect(four).toContainEqual(expected)
  for (const name of ['10.9.2.1/24', '10.9.4.1/32'])
    expect(four.find(({ address }) => address === name)).not.toHaveProperty('broadcast')
  const six = await out.addresses.list({ link: 'a', family: 6 })
  expect(six.find(({ address }) => address === 'fd00::1/64')?.flags).toEqual({
    ...permanent,
    noDad: true,
    noPrefixRoute: true,
  })
  expect(six.find(({ address }) => address === 'fd01::1/64')?.flags).not.toHaveProperty('permanent')
  expect((await out.addresses.list()).map(({ address, scope }) => `${address} ${scope}`)).toContain('127.0.0.9/8 host')
  // No route came with it.
  expect((await out.routes.list({ family: 6 })).map(({ destination }) => destination)).not.toContain('fd00::/64')

  await expect(out.addresses.add('a', '10.9.0.1/24')).rejects.toThrow(/^EEXIST: add address 10.9.0.1\/24 of a/)
  await expect(out.addresses.add('a', '10.0.0.300/8')).rejects.toThrow('not an IP address: "10.0.0.300"')
  await expect(out.addresses.add('none', '10.0.0.1/8')).rejects.toThrow('ENODEV: get link none')
  await out.addresses.delete('a', '10.9.0.1/24')
  await out.addresses.delete(a, 'fd00::1/64')
  await expect(out.addresses.delete(a, 'fd00::1/64')).rejects.toThrow(/^EADDRNOTAVAIL: delete address fd00::1\/64/)
  expect((await out.addresses.list({ link: a })).map(({ address }) => address)).not.toContain('10.9.0.1/24')
})

test('duplicate address detection is waited for, and its failure told', async () => {
  using net = makeNetworks()
  const { out } = net
  await pair(net)
  await out.addresses.add('a', 'fd00::1/64')
  expect(
    (await out.addresses.list({ link: 'a' })).find(({ address }) => address === 'fd00::1/64')?.flags.tentative,
  ).toBe(true)
  const settled = await out.addresses.untilSettled('a', soon())
  const [own] = settled.filter(({ address }) => address === 'fd00::1/64')
  expect(own?.flags).toEqual({ permanent: true })
  await out.addresses.add('b', 'fd00::1/64')
  const clash = await out.addresses.untilSettled('b', soon())
  expect(clash.find(({ address }) => address === 'fd00::1/64')?.flags).toMatchObject({ dadFailed: true })
  // A link that is down checks nothing.
  await out.links.set('a', { up: false })
  await out.addresses.add('a', 'fd00::2/64')
  await expect(out.addresses.untilSettled('a', AbortSignal.timeout(50))).rejects.toThrow('timeout')
})

test('neighbours', async () => {
  using net = makeNetworks()
  const { out } = net
  const { a, b } = await pair(net)
  await out.neighbours.add({ index: a, address: '10.9.0.2', mac: '02:00:00:00:00:02' })
  await out.neighbours.add({ index: b, address: 'fd00::2', mac: '02:00:00:00:00:03', state: 'stale' })
  await expect(out.neighbours.add({ index: a, address: '10.9.0.2' })).rejects.toThrow('EEXIST: add neighbour 10.9.0.2')
  const known = { index: a, address: '10.9.0.2', state: 'permanent' }
  expect(await out.neighbours.list({ link: a, family: 4 })).toEqual([{ ...known, mac: '02:00:00:00:00:02' }])
  await out.neighbours.add({ index: a, address: '10.9.0.2', mac: '02:00:00:00:00:04' }, 'replace')
  expect(await out.neighbours.list({ link: 'a', family: 4 })).toEqual([{ ...known, mac: '02:00:00:00:00:04' }])
  expect(await out.neighbours.list({ family: 6 })).toContainEqual(
    expect.objectContaining({ index: b, address: 'fd00::2', state: 'stale' }),
  )
  await out.neighbours.delete({ index: a, address: '10.9.0.2' })
  expect((await out.neighbours.list({ link: a })).map(({ address }) => address)).not.toContain('10.9.0.2')
})

test('a list is whole while addresses come and go', async () => {
  using net = makeNetworks()
  const { out } = net
  const { a } = await pair(net)
  const named = (first: number, count: number): NewAddress[] =>
    Array.from({ length: count }, (_, at) => ({
      address: `10.${first + (at >> 8)}.${at & 255}.1/32`,
      flags: { noPrefixRoute: true },
    }))
  // The kernel lists them in the order that they came in; those that go are before those that stay.
  const [going, staying] = [named(1, 60), named(20, 1500)]
  for (const address of [...going, ...staying]) await out.addresses.add(a, address)
  using other = openNetlink({ netns: net.host })
  const churn = (async () => {
    for (const address of going) {
      await other.addresses.delete(a, address)
      await sleep(15)
    }
    return true
  })()
  let isOver = false
  while (!isOver) {
    const listed = (await out.addresses.list({ family: 4 })).map(({ address }) => address)
    const lost = staying.filter(({ address }) => !listed.includes(address))
    expect(lost).toEqual([])
    isOver = await Promise.race([churn, sleep(0, false)])
  }
})

test('changes are told as they come, and the loop ends with its signal', async () => {
  using net = makeNetworks()
  const { out } = net
  const { a } = await pair(net)
  const stop = new AbortController()
  const told: string[] = []
  const follow = async <Value>(
    changes: AsyncIterable<{ type: string; value: Value }>,
    name: (value: Value) => string,
  ): Promise<void> => {
    for await (const { type, value } of changes) told.push(`${type} ${name(value)}`)
  }
  const { watch } = out
  const ends = [
    follow(watch.links(stop.signal), ({ name }) => name),
    follow(watch.addresses(stop.signal), ({ address }) => address),
    follow(watch.routes(stop.signal), ({ destination, table }) => `${destination} ${table}`),
    follow(watch.neighbours(stop.signal), ({ address }) => address),
  ]
  await out.links.add({ kind: 'bridge', name: 'br0' })
  await out.links.set('a', { master: 'br0' })
  await out.links.set('a', { master: null })
  await out.addresses.add(a, '10.9.0.1/24')
  await out.neighbours.add({ index: a, address: '10.9.0.2', mac: '02:00:00:00:00:02' })
  await out.links.delete('br0')
  await out.addresses.delete(a, '10.9.0.1/24')
  const all = [
    'set br0',
    'deleted br0',
    'set a',
    'set 10.9.0.1/24',
    'deleted 10.9.0.1/24',
    'set 10.9.0.0/24 254',
    'set 10.9.0.2',
  ]
  await expect.poll(() => told).toEqual(expect.arrayContaining(all))
  // The bridge's own messages of its ports are not those of links.
  expect(told).not.toContain('deleted a')
  stop.abort()
  await Promise.all(ends)
  expect(() => watch.links(stop.signal)).toThrow('abort')
})

test('a loop that lags behind ends with ENOBUFS', async () => {
  using net = makeNetworks()
  const { out, run } = net
  await pair(net)
  const file = `${net.host}.batch`
  const lines = Array.from({ length: 6000 }, (_, at) => `address add 10.${9 + (at >> 8)}.${at & 255}.1/32 dev a`)
  writeFileSync(file, lines.join('\n'))
  const read = async (): Promise<void> => {
    let count = 0
    for await (const { type } of out.watch.addresses(soon())) {
      expect(type).toBe('set')
      count += 1
      // Nothing is read while this runs.
      if (count === 1) run('ip', '-batch', file)
    }
  }
  const reading = expect(read()).rejects.toMatchObject({ code: 'ENOBUFS' })
  await out.addresses.add('a', '10.8.0.1/24')
  await reading
})
