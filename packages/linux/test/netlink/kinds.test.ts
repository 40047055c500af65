// Kinds of links that not every kernel has.
import { expect, test } from 'vitest'
import { makeNetworks } from './networks.ts'

// guest.test.ts runs them where they are.
const inGuest = test.skipIf(!process.env.UML)

inGuest('dummy, vlan, ipvlan and vrf are made, also in another namespace, and read back', async () => {
  using net = makeNetworks()
  const { out, inside, pod } = net
  const dummy = await out.links.add({ kind: 'dummy', name: 'd0', mtu: 1400, up: true })
  expect(await out.links.get('d0')).toMatchObject({ kind: 'dummy', details: { kind: 'dummy' }, mtu: 1400, up: true })

  await out.links.add({ kind: 'vlan', name: 'd0.5', parent: 'd0', id: 5 })
  expect(await out.links.get('d0.5')).toMatchObject({
    parent: dummy.index,
    details: { kind: 'vlan', id: 5, protocol: '802.1Q' },
  })
  await out.links.addTo(pod, { kind: 'vlan', name: 'eth0', parent: dummy.index, id: 6, protocol: '802.1ad' })
  expect(await inside.links.get('eth0')).toMatchObject({
    parent: dummy.index,
    otherNetnsId: expect.any(Number),
    details: { kind: 'vlan', id: 6, protocol: '802.1ad' },
  })
  const id = { kind: 'vlan', name: 'd0.9', parent: 'd0', id: 4095 } as const
  await expect(out.links.add(id)).rejects.toThrow('ERANGE: create link d0.9: 8021q: Invalid VLAN id')

  for (const mode of ['l2', 'l3', 'l3s'] as const) {
    await out.links.add({ kind: 'dummy', name: `for-${mode}`, up: true })
    await out.links.addTo(pod, { kind: 'ipvlan', mode, name: `ip-${mode}`, parent: `for-${mode}`, mtu: 1300 })
    expect((await inside.links.get(`ip-${mode}`))?.details).toEqual({ kind: 'ipvlan', mode })
  }

  const vrf = await out.links.add({ kind: 'vrf', name: 'blue', table: 100, up: true })
  await out.links.set('d0', { master: 'blue' })
  expect(await out.links.get('blue')).toMatchObject({ details: { kind: 'vrf', table: 100 } })
  expect((await out.links.list({ master: 'blue' })).map(({ name, master }) => [name, master])).toEqual([
    ['d0', vrf.index],
  ])
  await out.addresses.add('d0', '10.9.0.1/24')
  expect((await out.routes.list({ table: 100, family: 4 })).map(({ destination }) => destination)).toContain(
    '10.9.0.0/24',
  )
  expect((await out.rules.list(4)).find(({ vrf: own }) => own)).toMatchObject({ priority: 1000, vrf: true })
})

inGuest('a bridge keeps VLANs apart: access ports, trunks and ranges', async () => {
  using net = makeNetworks()
  const { out, run } = net
  const filtering = { kind: 'bridge', vlanFiltering: true, defaultPvid: 7 } as const
  const bridge = await out.links.add({ ...filtering, name: 'br0', ageingSeconds: 30, vlanProtocol: '802.1ad' })
  expect((await out.links.get('br0'))?.details).toMatchObject({
    ...filtering,
    ageingSeconds: 30,
    vlanProtocol: '802.1ad',
  })
  for (const name of ['v0', 'v1'])
    await out.links.add({ kind: 'veth', name, master: 'br0', peer: { name: `p-${name}` } })
  await out.bridge.addVlans('v0', [{ id: 100, pvid: true, untagged: true }])
  await out.bridge.deleteVlans('v0', [{ id: 7 }])
  await out.bridge.addVlans('v1', [{ id: 200, last: 210 }, { id: 300 }])
  await out.bridge.addVlans(bridge.index, [{ id: 100 }], true)
  const own = { id: 7, pvid: true, untagged: true }
  const ports = await out.bridge.vlans()
  const vlansOf = async (name: string): Promise<unknown> => {
    const link = await out.links.get(name)
    return ports.find(({ index }) => index === link?.index)?.vlans
  }
  expect(await vlansOf('v0')).toEqual([{ id: 100, pvid: true, untagged: true }])
  expect(await vlansOf('v1')).toEqual([own, { id: 200, last: 210 }, { id: 300 }])
  expect(await vlansOf('br0')).toEqual([own, { id: 100 }])
  expect(run('bridge', 'vlan', 'show', 'dev', 'v0')).toMatch(/100 PVID Egress Untagged/)
  await out.bridge.deleteVlans('v1', [{ id: 201, last: 205 }])
  expect((await out.bridge.vlans()).flatMap(({ vlans }) => vlans)).toContainEqual({ id: 206, last: 210 })
  await expect(out.bridge.addVlans('v0', [{ id: 5000 }])).rejects.toThrow(/^EINVAL: add VLANs of port v0/)

  const v0 = { index: (await out.links.get('v0'))?.index ?? 0, mac: '02:00:00:00:00:42', vlan: 100 }
  await out.bridge.addForwarding(v0)
  expect(await out.bridge.forwarding('v0')).toContainEqual({ ...v0, state: 'permanent' })
  await out.links.set('br0', { details: { kind: 'bridge', vlanFiltering: false } })
  expect((await out.links.get('br0'))?.details).toMatchObject({ vlanFiltering: false })
})
