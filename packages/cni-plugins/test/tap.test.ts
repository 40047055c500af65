import { closeSync, read, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { openTap } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { links, listOf, podNetwork, shown } from './reach.ts'

let machine: TestMachine
const ipam = { type: 'host-local', subnet: '10.77.0.0/24' }
const use = (plugin: object): void =>
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(listOf({ type: 'tap', ...plugin })))

beforeEach(() => {
  machine = makeMachine({})
})
afterEach(() => machine[Symbol.dispose]())

interface Shown {
  mtu: number
  address: string
  flags: string[]
  master?: string
  linkinfo: { info_data: { type: string; user?: string; group?: string; vnet_hdr: boolean; multi_queue: boolean } }
}
const eth0 = (netns: string): Shown | undefined => shown<Shown>(machine, netns, 'link', 'show', 'eth0')[0]

const bytes = (text: string): Buffer => Buffer.from(text.replaceAll(/[: ]/g, ''), 'hex')
const guestMac = '02:00:00:00:00:02'
/** Who has 10.77.0.2? Tell 10.77.0.1. */
const question = bytes(
  `ff:ff:ff:ff:ff:ff ${guestMac} 0806
  0001 0800 06 04 0001 ${guestMac} 0a4d0001 00:00:00:00:00:00 0a4d0002`.replaceAll('\n', ''),
)

/** The answer to the question, which is asked until the link carries frames. */
async function answer(fd: number): Promise<Buffer> {
  const asking = setInterval(() => writeSync(fd, question), 50)
  try {
    for (const frame = Buffer.alloc(2048); ;) {
      await promisify(read)(fd, frame, 0, frame.length, null)
      if (frame.readUInt16BE(12) === 0x0806 && frame.readUInt16BE(20) === 2) return frame
    }
  } finally {
    clearInterval(asking)
  }
}

test('a virtual machine in the pod talks to the pod by frames', async () => {
  use({ ipam, mac: '02:00:00:00:00:01', mtu: 1400 })
  await machine.cni.status()
  const one = podNetwork(machine, 'one')
  const result = await machine.cni.add(one)
  expect(result).toMatchObject({
    interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', sandbox: one.netns }],
    ips: [{ address: '10.77.0.2/24', interface: 0 }],
  })
  expect(eth0(one.netns)).toMatchObject({ mtu: 1400, linkinfo: { info_data: { type: 'tap', vnet_hdr: false } } })
  const fd = openTap({ name: 'eth0' }, one.netns)
  try {
    expect((await answer(fd)).subarray(22, 32)).toEqual(bytes('02:00:00:00:00:01 0a4d0002'))
  } finally {
    closeSync(fd)
  }
  await machine.cni.check(one)
  await machine.cni.del(one)
  await machine.cni.del(one)
  expect(links(machine, one.netns)).toEqual([])
})

test('owner, group and queues are as asked for; with both, packets have a header', async () => {
  use({ owner: 42420, group: 42421, multiQueue: true })
  const [one, two] = [podNetwork(machine, 'one'), podNetwork(machine, 'two')]
  expect(await machine.cni.add(one)).toMatchObject({ ips: [], routes: [] })
  expect(eth0(one.netns)?.flags).toContain('UP')
  expect(eth0(one.netns)?.linkinfo.info_data).toMatchObject({ vnet_hdr: true, multi_queue: true })
  expect(machine.run(one.netns, 'ip', '-d', 'link', 'show', 'eth0')).toMatch(/user 42420 group 42421/)
  use({ owner: 0 })
  await machine.cni.add(two)
  expect(eth0(two.netns)?.linkinfo.info_data).toMatchObject({ vnet_hdr: false, multi_queue: false })
  expect(machine.run(two.netns, 'ip', '-d', 'link', 'show', 'eth0')).toMatch(/user (0|root)/)
})

test('it may be a port of a bridge of the pod', async () => {
  use({ bridge: 'br0', ipam })
  const one = podNetwork(machine, 'one')
  await expect(machine.cni.add(one)).rejects.toThrow('failed to get bridge br0')
  expect(links(machine, one.netns)).toEqual([])
  machine.run(one.netns, 'ip', 'link', 'add', 'name', 'br0', 'type', 'bridge')
  await machine.cni.add(one)
  expect(eth0(one.netns)?.master).toBe('br0')
})

test.each<[object, string]>([
  [{ owner: -1 }, 'tap: owner: '],
  [{ group: 'wheel' }, 'tap: group: '],
  [{ mac: '1' }, 'tap: mac: must be a MAC'],
  [{ bridge: 'a/b' }, 'tap: bridge: must be a link name'],
  [{ mtu: 10 }, 'EINVAL: set mtu'],
])('%j is refused', async (plugin, message) => {
  use({ ...plugin, ipam })
  const one = podNetwork(machine, 'one')
  await expect(machine.cni.add(one)).rejects.toThrow(message)
  expect(links(machine, one.netns)).toEqual([])
})

test('CHECK tells of a link that is none of its own', async () => {
  use({ ipam })
  const one = podNetwork(machine, 'one')
  await machine.cni.add(one)
  machine.run(one.netns, 'ip', 'link', 'del', 'eth0')
  machine.run(one.netns, 'ip', 'link', 'add', 'name', 'eth0', 'type', 'bridge')
  await expect(machine.cni.check(one)).rejects.toThrow('eth0 is not of kind tun but bridge')
})
