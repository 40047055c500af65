import { expect, test } from 'vitest'
import { makeNetworks } from './networks.ts'

test('port settings and forwarding entries of a bridge, and of a vxlan', async () => {
  using net = makeNetworks()
  const { out } = net
  await out.links.add({ kind: 'bridge', name: 'br0', up: true })
  const port = await out.links.add({ kind: 'veth', name: 'v0', master: 'br0', up: true, peer: { name: 'p0' } })
  const index = port.index
  const settings = {
    hairpin: true,
    isolated: true,
    learning: false,
    multicastFlood: false,
    unicastFlood: false,
    neighbourSuppress: true,
  }
  await out.bridge.setPort('v0', settings)
  expect((await out.links.get('v0'))?.port).toMatchObject({
    ...settings,
    broadcastFlood: true,
    state: expect.any(String),
  })
  await out.bridge.setPort(index, { hairpin: false })
  expect((await out.links.get('v0'))?.port).toMatchObject({ ...settings, hairpin: false })
  await expect(out.bridge.setPort('p0', { hairpin: true })).rejects.toThrow('EOPNOTSUPP: set hairpin of port p0')

  const entry = { index, mac: '02:00:00:00:00:42' }
  await out.bridge.addForwarding(entry)
  await expect(out.bridge.addForwarding(entry)).rejects.toThrow('EEXIST: add forwarding entry 02:00:00:00:00:42')
  await out.bridge.addForwarding({ ...entry, state: 'noArp' }, 'replace')
  expect(await out.bridge.forwarding('v0')).toContainEqual({ ...entry, state: 'noArp' })
  await out.bridge.deleteForwarding(entry)
  expect((await out.bridge.forwarding()).map(({ mac }) => mac)).not.toContain(entry.mac)

  const vxlan = await out.links.add({ kind: 'vxlan', name: 'x0', id: 7, port: 4789, learning: false })
  const flood = { index: vxlan.index, mac: '00:00:00:00:00:00', self: true }
  await out.bridge.addForwarding({ ...flood, destination: '10.0.0.2' })
  await out.bridge.addForwarding({ ...flood, destination: '10.0.0.3', port: 4790, vni: 8 }, 'append')
  expect(await out.bridge.forwarding('x0')).toEqual([
    { ...flood, destination: '10.0.0.2', state: 'permanent' },
    { ...flood, destination: '10.0.0.3', port: 4790, vni: 8, state: 'permanent' },
  ])
  await out.bridge.deleteForwarding({ ...flood, destination: '10.0.0.2' })
  expect(await out.bridge.forwarding('x0')).toHaveLength(1)
})
