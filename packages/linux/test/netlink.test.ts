import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  addressBytes,
  addressText,
  isWithin,
  openNetlink,
  parsePrefix,
  pinNamespaces,
  unpinNamespace,
} from '../src/index.ts'

let folder: string
let host: string
let pod: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-netlink-'))
  host = join(folder, 'host')
  pod = join(folder, 'pod')
  pinNamespaces({ paths: { net: host } })
  pinNamespaces({ paths: { net: pod } })
})
afterEach(() => {
  for (const path of [host, pod]) unpinNamespace(path)
  rmSync(folder, { recursive: true })
})

test('a bridge with a veth into another namespace, addresses and routes', async () => {
  using out = openNetlink({ netns: host })
  using inside = openNetlink({ netns: pod })
  expect((await out.links()).map(({ name }) => name)).toEqual(['lo'])
  await out.createBridge('br0', { mtu: 1400 })
  await out.setUp('br0')
  await out.addAddress('br0', '10.9.0.1/24')
  await out.createVeth('v0', { name: 'eth0', netns: pod, mac: '02:00:00:00:00:07' }, { mtu: 1400 })
  await out.setMaster('v0', 'br0')
  await out.setHairpin('v0', true)
  await out.setUp('v0')
  const limit = AbortSignal.timeout(5_000)
  await inside.setUp('eth0')
  await out.untilOperational('v0', limit)
  await inside.addAddress('eth0', '10.9.0.2/24')
  await inside.addAddress('eth0', 'fd00:9::2/64')
  await inside.addRoute({ destination: '0.0.0.0/0', gateway: '10.9.0.1' })

  const [bridge, port] = [await out.link('br0'), await out.link('v0')]
  expect(bridge).toMatchObject({ kind: 'bridge', up: true, mtu: 1400 })
  expect(port).toMatchObject({ kind: 'veth', master: bridge?.index, peer: (await inside.link('eth0'))?.index })
  expect(await inside.link('eth0')).toMatchObject({ mac: '02:00:00:00:00:07', up: true })
  expect((await inside.addresses()).map(({ address }) => address)).toEqual(
    expect.arrayContaining(['10.9.0.2/24', 'fd00:9::2/64']),
  )
  expect(await inside.routes()).toEqual(
    expect.arrayContaining([expect.objectContaining({ destination: '0.0.0.0/0', gateway: '10.9.0.1' })]),
  )
  await inside.deleteRoute({ destination: '0.0.0.0/0', gateway: '10.9.0.1' })
  await inside.deleteAddress('eth0', '10.9.0.2/24')
  expect((await inside.routes()).filter(({ destination }) => destination.endsWith('/0'))).toEqual([])
  await out.deleteLink('v0')
  await out.deleteLink('v0')
  expect(await inside.link('eth0')).toBeUndefined()
})

test('a link gets another size and name and moves into another namespace', async () => {
  using out = openNetlink({ netns: host })
  using inside = openNetlink({ netns: pod })
  await out.createVeth('a', { name: 'b' })
  await out.setMtu('b', 1300)
  await out.rename('b', 'c')
  await out.moveTo('c', pod)
  expect(await out.link('c')).toBeUndefined()
  expect(await inside.link('c')).toMatchObject({ kind: 'veth', mtu: 1300, up: false })
  await expect(out.rename('a', 'lo')).rejects.toThrow('EEXIST: netlink rename link a to lo')
  await expect(out.setMtu('a', 1)).rejects.toThrow('EINVAL: netlink MTU 1 of link a')
})

test('refusals name errno and what was tried', async () => {
  using out = openNetlink({ netns: host })
  await out.createBridge('br0')
  await expect(out.createBridge('br0')).rejects.toThrow('EEXIST: netlink create link br0')
  await expect(out.setUp('none')).rejects.toThrow('ENODEV: netlink link none')
  await expect(out.addRoute({ destination: '10.1.0.0/16', gateway: '10.9.9.9' })).rejects.toThrow(
    'ENETUNREACH: netlink add route 10.1.0.0/16 via 10.9.9.9',
  )
  await expect(out.addAddress('br0', '10.0.0.300/8')).rejects.toThrow('not an IP address: "10.0.0.300"')
  expect(await out.link('nothing')).toBeUndefined()
})

test.each([
  ['10.0.0.1', '0a000001', '10.0.0.1'],
  ['::', '0'.repeat(32), '::'],
  ['fd00:0:0::1', `fd00${'0'.repeat(27)}1`, 'fd00::1'],
  ['::ffff:1.2.3.4', `${'0'.repeat(20)}ffff01020304`, '::ffff:102:304'],
])('%s', (text, hex, canonical) => {
  expect(addressBytes(text).toString('hex')).toBe(hex)
  expect(addressText(addressBytes(text))).toBe(canonical)
})

test('prefixes', () => {
  expect(parsePrefix('10.1.2.3/8')).toMatchObject({ family: 2, length: 8 })
  expect(isWithin('10.200.0.1', '10.0.0.0/8')).toBe(true)
  expect(isWithin('fd01::1', 'fd00::/16')).toBe(false)
  for (const bad of ['10.0.0.1/33', '10.0.0.1/x', '10.0.0.1/8/8', 'x/8'])
    expect(() => parsePrefix(bad)).toThrow(RangeError)
})
