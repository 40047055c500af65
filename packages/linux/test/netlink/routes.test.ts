import { expect, test } from 'vitest'
import { makeNetworks } from './networks.ts'
import type { Networks } from './networks.ts'

async function pair({ out }: Networks): Promise<number> {
  const born = await out.links.add({ kind: 'veth', name: 'a', up: true, peer: { name: 'b' } })
  await out.links.set('b', { up: true })
  await out.addresses.add('a', '10.9.0.1/24')
  await out.addresses.add('a', { address: 'fd00::1/64', flags: { noDad: true } })
  return born.index
}

test('routes with all their options', async () => {
  using net = makeNetworks()
  const { out } = net
  const index = await pair(net)
  await out.routes.add({ destination: '0.0.0.0/0', gateway: '10.9.0.9' })
  await out.routes.add({
    destination: '10.1.0.0/16',
    link: 'a',
    source: '10.9.0.1',
    metric: 5,
    mtu: 1300,
    advMss: 1260,
  })
  await out.routes.add({
    destination: '10.2.0.0/16',
    gateway: '10.77.0.1',
    link: index,
    onLink: true,
    protocol: 'static',
  })
  await out.routes.add({ destination: '10.3.0.0/16', link: index, scope: 'host' })
  await out.routes.add({ destination: '10.4.0.0/16', type: 'blackhole' })
  await out.routes.add({ destination: '10.5.0.0/16', gateway: 'fd00::9', link: index })
  await out.routes.add({ destination: '::/0', gateway: 'fd00::9', table: 1000, mtu: 1290 })
  await out.routes.add({ destination: 'fd05::/64', type: 'unreachable' })
  await out.routes.add({ destination: '10.6.0.0/16', gateway: '10.9.0.2', table: 300 })
  const main = await out.routes.list({ family: 4 })
  const main4 = { family: 4, table: 254, type: 'unicast', protocol: 'boot' }
  expect(main).toContainEqual({ ...main4, destination: '0.0.0.0/0', gateway: '10.9.0.9', index, scope: 'global' })
  const options = { source: '10.9.0.1', metric: 5, mtu: 1300, advMss: 1260 }
  expect(main).toContainEqual({ ...main4, destination: '10.1.0.0/16', index, scope: 'link', ...options })
  const onLink = { gateway: '10.77.0.1', onLink: true, protocol: 'static' }
  expect(main).toContainEqual({ ...main4, destination: '10.2.0.0/16', index, scope: 'global', ...onLink })
  expect(main).toContainEqual({ ...main4, destination: '10.3.0.0/16', index, scope: 'host' })
  expect(main).toContainEqual({ ...main4, destination: '10.4.0.0/16', scope: 'global', type: 'blackhole' })
  expect(main).toContainEqual({ ...main4, destination: '10.5.0.0/16', index, gateway: 'fd00::9', scope: 'global' })
  expect(main).toContainEqual(
    expect.objectContaining({ destination: '10.9.0.0/24', protocol: 'kernel', scope: 'link' }),
  )
  expect(main.every(({ table, family }) => table === 254 && family === 4)).toBe(true)

  expect(await out.routes.list({ table: 1000 })).toEqual([
    expect.objectContaining({ family: 6, destination: '::/0', gateway: 'fd00::9', table: 1000, mtu: 1290 }),
  ])
  expect(await out.routes.list({ table: 300, link: 'a' })).toEqual([
    expect.objectContaining({ destination: '10.6.0.0/16', table: 300 }),
  ])
  expect(await out.routes.list({ table: 300, link: 'lo' })).toEqual([])
  expect(await out.routes.list({ table: 299, family: 4 })).toEqual([])
  expect(await out.routes.list({ family: 6, type: 'unreachable' })).toEqual([
    expect.objectContaining({ destination: 'fd05::/64', type: 'unreachable' }),
  ])
  expect((await out.routes.list({ protocol: 'static' })).map(({ destination }) => destination)).toEqual(['10.2.0.0/16'])
  const tables = new Set((await out.routes.list({ table: null })).map(({ table }) => table))
  expect([...tables].toSorted((a, b) => a - b)).toEqual([254, 255, 300, 1000])
  expect(net.run('ip', 'route', 'show', '10.1.0.0/16')).toContain(
    'scope link src 10.9.0.1 metric 5 mtu 1300 advmss 1260',
  )

  await out.routes.delete({ destination: '0.0.0.0/0', gateway: '10.9.0.9' })
  await out.routes.delete({ destination: '10.4.0.0/16', type: 'blackhole' })
  await expect(out.routes.delete({ destination: '10.4.0.0/16', type: 'blackhole' })).rejects.toThrow(
    'ESRCH: delete route 10.4.0.0/16',
  )
  expect((await out.routes.list()).map(({ destination }) => destination)).not.toContain('0.0.0.0/0')
})

test('several next hops, at once and one after the other; replacing', async () => {
  using net = makeNetworks()
  const { out } = net
  const index = await pair(net)
  const nextHops = [
    { link: index, gateway: '10.9.0.2', weight: 3 },
    { link: 'a', gateway: '10.9.0.3' },
  ]
  await out.routes.add({ destination: '10.1.0.0/16', nextHops })
  const [both] = (await out.routes.list({ family: 4 })).filter(({ destination }) => destination === '10.1.0.0/16')
  expect(both?.nextHops).toEqual([
    { index, gateway: '10.9.0.2', weight: 3 },
    { index, gateway: '10.9.0.3', weight: 1 },
  ])
  for (const gateway of ['fd00::2', 'fd00::3']) await out.routes.add({ destination: '::/0', gateway }, 'append')
  const [six] = (await out.routes.list({ family: 6 })).filter(({ destination }) => destination === '::/0')
  expect(six?.nextHops?.map(({ gateway }) => gateway)).toEqual(['fd00::2', 'fd00::3'])
  await expect(out.routes.add({ destination: '10.1.0.0/16', link: 'a' })).rejects.toThrow(
    /^EEXIST: add route 10.1.0.0\/16 dev a/,
  )
  await out.routes.add({ destination: '10.1.0.0/16', gateway: '10.9.0.4' }, 'replace')
  expect(await out.routes.lookup('10.1.2.3')).toMatchObject({ destination: '10.1.2.3/32', gateway: '10.9.0.4', index })
  expect(await out.routes.lookup('fd00::8')).toMatchObject({ destination: 'fd00::8/128', index, source: 'fd00::1' })
  expect(await out.routes.lookup('192.0.2.1')).toBeUndefined()
  await expect(out.routes.add({ destination: '10.1.0.0/16', gateway: '10.99.0.1', metric: 9 })).rejects.toThrow(
    'ENETUNREACH: add route 10.1.0.0/16 via 10.99.0.1: Nexthop has invalid gateway',
  )
})

test('rules', async () => {
  using net = makeNetworks()
  const { out } = net
  const rules = [
    { family: 4, priority: 100, table: 300, from: '10.9.0.1/32', to: '10.8.0.0/16', inputLink: 'a', action: 'table' },
    { family: 4, priority: 101, table: 301, mark: 0x10, mask: 0xff, outputLink: 'b', invert: true, action: 'table' },
    { family: 4, priority: 102, table: 254, suppressPrefixLength: 0, action: 'table' },
    { family: 4, priority: 103, from: '10.3.0.0/16', action: 'unreachable' },
    { family: 6, priority: 100, table: 300, from: 'fd00::1/128', action: 'table' },
  ] as const
  for (const rule of rules) await out.rules.add(rule)
  const listed = await out.rules.list()
  for (const rule of rules) expect(listed).toContainEqual(expect.objectContaining(rule))
  expect((await out.rules.list(6)).every(({ family }) => family === 6)).toBe(true)
  expect((await out.rules.list(4)).find(({ priority }) => priority === 0)).toMatchObject({ table: 255 })
  await expect(out.rules.add(rules[0])).rejects.toThrow('EEXIST: add rule from 10.9.0.1/32 lookup 300')
  for (const rule of rules) await out.rules.delete(rule)
  expect(
    (await out.rules.list()).filter(({ priority }) => priority !== undefined && priority < 1000 && priority > 0),
  ).toEqual([])
  await expect(out.rules.delete(rules[4])).rejects.toThrow('ENOENT: delete rule from fd00::1/128 lookup 300')
})
