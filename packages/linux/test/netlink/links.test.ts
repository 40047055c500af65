import { openSync, closeSync } from 'node:fs'
import { expect, test } from 'vitest'
import { descriptorsTo } from '../descriptors.ts'
import { openNetlink } from '../../src/index.ts'
import { makeNetworks } from './networks.ts'

const soon = (): AbortSignal => AbortSignal.timeout(10_000)

test('a veth is born whole: up, in its bridge, with both MACs, and with its end in another namespace', async () => {
  using net = makeNetworks()
  const { out, inside, pod } = net
  const bridge = await out.links.add({ kind: 'bridge', name: 'br0', mtu: 1400, up: true, mac: '02:00:00:00:00:01' })
  const born = await out.links.add({
    kind: 'veth',
    name: 'v0',
    up: true,
    mtu: 1400,
    mac: '02:00:00:00:00:02',
    group: 7,
    txQueueLength: 500,
    promiscuous: true,
    allMulticast: true,
    master: bridge.index,
    peer: { name: 'eth0', netns: pod, mac: '02:00:00:00:00:03', mtu: 1400, group: 8, txQueueLength: 400 },
  })
  expect(bridge).toMatchObject({ mac: '02:00:00:00:00:01' })
  const eth = await inside.links.get('eth0')
  expect(born).toEqual({ index: (await out.links.get('v0'))?.index, mac: '02:00:00:00:00:02', peer: eth?.index })
  expect(eth).toMatchObject({
    kind: 'veth',
    mac: '02:00:00:00:00:03',
    mtu: 1400,
    up: false,
    group: 8,
    txQueueLength: 400,
  })
  expect(eth).toMatchObject({ peer: born.index, otherNetnsId: expect.any(Number) })
  const port = await out.links.get('v0')
  expect(port).toMatchObject({
    up: true,
    mtu: 1400,
    group: 7,
    txQueueLength: 500,
    promiscuous: true,
    allMulticast: true,
  })
  expect(port).toMatchObject({
    master: bridge.index,
    port: { hairpin: false },
    operational: false,
    details: { kind: 'veth' },
  })

  await inside.links.set('eth0', { up: true })
  await out.links.untilOperational('v0', soon())
  expect((await out.links.list({ master: 'br0' })).map(({ name }) => name)).toEqual(['v0'])
  expect((await out.links.list({ kind: 'bridge' })).map(({ name }) => name)).toEqual(['br0'])
  expect(await out.links.list({ kind: 'no-such-kind' })).toEqual([])
  // One packet at least: duplicate address detection of IPv6.
  await expect.poll(async () => (await out.links.get('v0'))?.statistics?.txBytes).toBeGreaterThan(0)

  await out.links.delete('v0')
  await out.links.delete('v0')
  expect(await inside.links.get('eth0')).toBeUndefined()
})

test('a link is changed in all that it has, and moves under a new name', async () => {
  using net = makeNetworks()
  const { out, inside, pod } = net
  await out.links.add({ kind: 'veth', name: 'a', peer: { name: 'b' } })
  await out.links.add({ kind: 'bridge', name: 'br0' })
  const settings = { alias: 'was eth7', group: 3, txQueueLength: 42, promiscuous: true, allMulticast: true, mtu: 1300 }
  await out.links.set('b', { ...settings, mac: '02:00:00:00:00:09', master: 'br0', up: true })
  const { index: bridge } = (await out.links.get('br0')) ?? {}
  expect(await out.links.get('b')).toMatchObject({ ...settings, mac: '02:00:00:00:00:09', master: bridge, up: true })
  await out.links.set('b', { master: null, promiscuous: false, allMulticast: false, alias: '', up: false })
  const plain = await out.links.get('b')
  expect(plain).toMatchObject({ promiscuous: false, allMulticast: false, up: false, mtu: 1300 })
  expect(plain).not.toHaveProperty('master')
  expect(plain).not.toHaveProperty('alias')

  await out.links.set('b', { netns: pod, name: 'c', up: true })
  expect(await out.links.get('b')).toBeUndefined()
  expect(await inside.links.get('c')).toMatchObject({ kind: 'veth', mtu: 1300, up: true })
  const fd = openSync(net.host, 'r')
  await inside.links.set('c', { netns: fd })
  closeSync(fd)
  expect(await out.links.get('c')).toMatchObject({ up: false })
  await out.links.set('c', { name: 'd' })
  expect(await out.links.get('d')).toMatchObject({ mtu: 1300 })
  await out.links.set('br0', { details: { kind: 'bridge', ageingSeconds: 20, stp: true } })
  expect((await out.links.get('br0'))?.details).toMatchObject({ kind: 'bridge', ageingSeconds: 20, stp: true })
})

test('refusals name errno, what was tried, and what the kernel says', async () => {
  using net = makeNetworks()
  const { out } = net
  await out.links.add({ kind: 'bridge', name: 'br0' })
  await expect(out.links.add({ kind: 'bridge', name: 'br0' })).rejects.toThrow(/^EEXIST: create link br0$/)
  await expect(out.links.set('none', { up: true })).rejects.toThrow(/^ENODEV: set up of link none$/)
  await expect(out.links.set('br0', { mtu: 1 })).rejects.toThrow(
    /^EINVAL: set mtu of link br0: mtu less than device minimum$/,
  )
  await expect(out.links.set('br0', { master: 'br0' })).rejects.toThrow(/^ELOOP: set master of link br0: /)
  await expect(out.links.add({ kind: 'vlan', name: 'x', parent: 'none', id: 1 })).rejects.toThrow(
    'ENODEV: get link none',
  )
  await expect(out.links.set('br0', { mac: 'zz' })).rejects.toThrow('not a link-layer address: "zz"')
  await expect(out.links.set('br0', { netns: '/nowhere' })).rejects.toMatchObject({ code: 'ENOENT' })
  expect(await out.links.get('nothing')).toBeUndefined()
})

test('waiting for a link ends with the signal, and when the link is deleted', async () => {
  using net = makeNetworks()
  const { out } = net
  await out.links.add({ kind: 'veth', name: 'a', peer: { name: 'b' } })
  const stop = new AbortController()
  const stopped = out.links.untilOperational('a', stop.signal)
  const gone = out.links.untilOperational('a', soon())
  setTimeout(() => stop.abort(new Error('enough')), 20)
  await expect(stopped).rejects.toThrow('enough')
  await Promise.all([expect(gone).rejects.toThrow('ENODEV: watch link a'), out.links.delete('a')])
  await expect(out.links.untilOperational('a', soon())).rejects.toThrow('ENODEV: watch link a')
})

test('many requests at once on one socket, and no descriptor stays', async () => {
  const sockets = (): number => descriptorsTo((target) => target.startsWith('socket:') || target.includes('net:['))
  const before = sockets()
  let late: Promise<unknown>
  {
    using net = makeNetworks()
    await Promise.all(
      Array.from({ length: 60 }, async (_, at) =>
        net.out.links.add({ kind: 'veth', name: `v${at}`, peer: { name: `p${at}` } }),
      ),
    )
    expect(await net.out.links.list({ kind: 'veth' })).toHaveLength(120)
    await Promise.all(Array.from({ length: 10 }, async (_, at) => net.out.links.delete(`v${at}`)))
    expect(await net.out.links.list({ kind: 'veth' })).toHaveLength(100)
    late = net.out.links.list()
  }
  await expect(late).rejects.toThrow('EBADF: list links: netlink is closed')
  await expect.poll(sockets).toBe(before)
  expect(() => openNetlink({ netns: '/nowhere' })).toThrow('ENOENT')
})

test('ifb, macvlan and vxlan', async () => {
  using net = makeNetworks()
  const { out, inside, pod } = net
  await out.links.add({ kind: 'ifb', name: 'ifb9', mtu: 1400, up: true })
  expect(await out.links.get('ifb9')).toMatchObject({ kind: 'ifb', mtu: 1400, up: true })
  const parent = await out.links.add({ kind: 'veth', name: 'a', up: true, peer: { name: 'b' } })
  for (const mode of ['private', 'vepa', 'bridge', 'passthru'] as const) {
    const settings = { kind: 'macvlan', mode, broadcastQueueLength: 77 } as const
    await out.links.addTo(pod, { ...settings, name: 'm0', parent: 'a', mtu: 1300 })
    const born = await inside.links.get('m0')
    expect(born).toMatchObject({ parent: parent.index, otherNetnsId: expect.any(Number), mtu: 1300 })
    expect(born?.details).toEqual(settings)
    await inside.links.delete('m0')
  }
  const vxlan = { kind: 'vxlan', id: 42, port: 4789, learning: false } as const
  await out.links.add({ ...vxlan, name: 'x4', local: '10.0.0.1', remote: '10.0.0.2', through: parent.index })
  await out.links.add({ ...vxlan, name: 'x6', id: 43, local: 'fd00::1', remote: 'fd00::2' })
  expect((await out.links.get('x4'))?.details).toEqual({
    ...vxlan,
    local: '10.0.0.1',
    remote: '10.0.0.2',
    through: parent.index,
  })
  expect((await out.links.get('x6'))?.details).toEqual({ ...vxlan, id: 43, local: 'fd00::1', remote: 'fd00::2' })
})

test('tap and tun', async () => {
  using net = makeNetworks()
  const { out } = net
  await out.links.addTap({ name: 'tap0', multiQueue: true, vnetHeader: true, owner: 1000, group: 1001 })
  await out.links.addTap({ name: 'tun0', mode: 'tun' })
  const [tap, tun] = [await out.links.get('tap0'), await out.links.get('tun0')]
  expect(tap?.details).toMatchObject({ kind: 'tun', mode: 'tap', owner: 1000, group: 1001, persistent: true })
  expect(tap?.details).toMatchObject({ multiQueue: true, vnetHeader: true })
  expect(tun?.details).toMatchObject({ kind: 'tun', mode: 'tun', persistent: true })
  await expect(out.links.addTap({ name: 'tun0', mode: 'tap' })).rejects.toThrow('EINVAL: ioctlWith tun0')
  await expect(out.links.addTap({ name: 'a-name-too-long-' })).rejects.toThrow('too long for a link')
})
