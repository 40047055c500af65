import { chmodSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { unpinNamespace } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { standardPlugins } from '../src/index.ts'
import type { Cni, PodNetwork } from '../src/index.ts'
import { createHostDevice } from '../src/plugins/host-device/host-device.ts'
import { program } from '../src/testing/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { usePrograms } from './programs.ts'
import { ask, links, listOf, podNetwork, shown, useServers } from './reach.ts'

const programs = usePrograms()
const serve = useServers()
let machine: TestMachine
/** Where the other end of the device is. */
let router: string
const ipam = { type: 'host-local', subnet: '10.77.0.0/24', gateway: '10.77.0.1', rangeEnd: '10.77.0.2' }

const use = (plugin: object): void => {
  const list = listOf({ type: 'host-device', capabilities: { deviceID: true }, ipam, ...plugin })
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
}

/** A veth plays the device: the machine's test bed has no network card to spare. */
beforeEach(() => {
  machine = makeMachine({})
  router = machine.pod('router')
  const { host, run } = machine
  run(host, 'ip', 'link', 'add', 'name', 'dev0', 'type', 'veth', 'peer', 'name', 'lan', 'netns', router)
  run(host, 'ip', 'link', 'set', 'dev0', 'address', '02:00:00:00:00:0d', 'up')
  run(router, 'ip', 'link', 'set', 'lan', 'up')
  run(router, 'ip', 'addr', 'add', '10.77.0.1/24', 'dev', 'lan')
})
afterEach(() => machine[Symbol.dispose]())

interface Shown {
  ifname: string
  ifalias?: string
  flags: string[]
}
const linkOf = (netns: string, name: string): Shown | undefined =>
  shown<Shown>(machine, netns, 'link').find(({ ifname }) => ifname === name)
const held = (): string[] =>
  readdirSync(join(machine.folder, 'cache/networks/test')).filter((name) => /^[\d.]+$/.test(name))

async function comesAndGoes(cni: Cni, one: PodNetwork): Promise<void> {
  const result = await cni.add(one)
  expect(result).toMatchObject({
    interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:0d', sandbox: one.netns }],
    ips: [{ address: '10.77.0.2/24', interface: 0 }],
  })
  expect(linkOf(machine.host, 'dev0')).toBeUndefined()
  expect(linkOf(one.netns, 'eth0')?.ifalias).toBe('dev0')
  await cni.check(one)
  await cni.del(one)
  await cni.del(one)
  const back = linkOf(machine.host, 'dev0')
  expect(back?.flags).not.toContain('UP')
  expect(back?.ifalias).toBeUndefined()
  expect([links(machine, one.netns).includes('eth0'), held()]).toEqual([false, []])
}

test('a device by its name is the pod’s until DEL, whatever the names of other links', async () => {
  use({ device: 'dev0' })
  await machine.cni.status()
  const one = podNetwork(machine, 'one')
  for (const [netns, name] of [
    [machine.host, 'eth0'],
    [one.netns, 'dev0'],
  ] as const)
    machine.run(netns, 'ip', 'link', 'add', 'name', name, 'type', 'bridge')
  await machine.cni.add(one)
  await serve(router, 80)
  expect(await ask(one.netns, '10.77.0.1', 80)).toBe('10.77.0.2')
  await machine.cni.del(one)
  await comesAndGoes(machine.cni, one)
  expect([links(machine, machine.host), links(machine, one.netns)]).toEqual([['dev0', 'eth0'], ['dev0']])
})

test('a device by its MAC', async () => {
  use({ hwaddr: '02:00:00:00:00:0D' })
  await comesAndGoes(machine.cni, podNetwork(machine, 'one'))
})

test('a device by its folder below /sys/devices', async () => {
  // A program of the machine whose sysfs shows its links: the first of all virtual devices.
  const wrapped = join(machine.folder, 'host-device')
  const script = `#!/bin/sh\nexec unshare -m sh -c 'mount -t sysfs sysfs /sys && exec ${join(programs().folder, 'host-device')}'\n`
  writeFileSync(wrapped, script)
  chmodSync(wrapped, 0o755)
  const run = program(wrapped, { hostNetns: machine.host })
  const one = podNetwork(machine, 'one')
  const call = async (command: string, kernelpath: string): Promise<string> => {
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: 'one',
      CNI_NETNS: one.netns,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/x',
    }
    const input = { cniVersion: '1.1.0', name: 'test', type: 'host-device', kernelpath }
    return (await run(env, JSON.stringify(input))).stdout
  }
  expect(await call('ADD', '/sys/devices/virtual/mem')).toContain('no link has the kernel path')
  expect(await call('ADD', '/sys/devices/virtual')).toContain('02:00:00:00:00:0d')
  expect(linkOf(one.netns, 'eth0')?.flags).toContain('UP')
  expect(await call('DEL', '/sys/devices/virtual')).toBe('')
  expect(links(machine, machine.host)).toContain('dev0')
})

/** Folders as sysfs has them of devices that this machine lacks: the links are real. */
function makeSysfs(): Cni {
  const sysfs = join(machine.folder, 'sys')
  const pci = join(sysfs, 'bus/pci/devices')
  for (const folder of [
    join(pci, '0000:03:02.0/net/dev0'),
    join(pci, '0000:03:02.1/virtio3/net/dev0'),
    join(pci, '0000:03:02.2'),
    join(pci, '0000:03:02.3/net/gone0'),
    join(sysfs, 'bus/auxiliary/devices/mlx5_core.sf.4/net/dev0'),
  ])
    mkdirSync(folder, { recursive: true })
  symlinkSync('../../../../bus/pci/drivers/vfio-pci', join(pci, '0000:03:02.2/driver'))
  symlinkSync('../../../../bus/pci/drivers/mlx5_core', join(pci, '0000:03:02.0/driver'))
  const others = standardPlugins.filter(({ name }) => name !== 'host-device')
  return machine.open({ plugins: [...others, createHostDevice(sysfs)] })
}

test.each([
  ['0000:03:02.0', {}],
  ['0000:03:02.1', {}],
  ['0000:03:02.3', { capabilityArgs: { deviceID: '0000:03:02.0' } }],
  ['0000:03:02.3', { capabilityArgs: { deviceID: 'mlx5_core.sf.4' } }],
])('a device of a bus: %s %j', async (pciBusID, more) => {
  const cni = makeSysfs()
  use({ pciBusID, ...('capabilityArgs' in more && { device: 'nothing' }) })
  await comesAndGoes(cni, podNetwork(machine, 'one', more))
})

test('a device that a program works gets an address and stays where it is', async () => {
  const cni = makeSysfs()
  use({ pciBusID: '0000:03:02.2' })
  const one = podNetwork(machine, 'one')
  const result = await cni.add(one)
  expect(result).toMatchObject({ interfaces: [], ips: [{ address: '10.77.0.2/24', gateway: '10.77.0.1' }] })
  expect(result.ips[0]).not.toHaveProperty('interface')
  await cni.check(one)
  expect([links(machine, machine.host), links(machine, one.netns), held()]).toEqual([['dev0'], [], ['10.77.0.2']])
  await cni.del(one)
  expect(held()).toEqual([])
})

test.each<[object, string]>([
  [{}, 'specify either "device", "hwaddr", "kernelpath" or "pciBusID"'],
  [{ device: 'dev1' }, 'failed to find host device: no link has the name "dev1"'],
  [{ hwaddr: '02:00:00:00:00:0e' }, 'no link has the MAC "02:00:00:00:00:0e"'],
  [{ hwaddr: 'x' }, 'host-device: hwaddr: must be a MAC'],
  [{ kernelpath: '/sys/class/net' }, 'must be absolute and begin with /sys/devices/'],
  [{ kernelpath: '/sys/devices/../class' }, 'must be absolute and begin with /sys/devices/'],
  [{ pciBusID: '../../../class' }, 'host-device: pciBusID: must be an ID'],
  [{ pciBusID: '0000:03:02.3' }, 'no link has the bus ID "0000:03:02.3"'],
  [{ pciBusID: '0000:03:02.9' }, 'no link has the bus ID "0000:03:02.9"'],
])('%j is refused', async (plugin, message) => {
  const cni = makeSysfs()
  use(plugin)
  await expect(cni.add(podNetwork(machine, 'one'))).rejects.toThrow(message)
  expect(linkOf(machine.host, 'dev0')?.flags).toContain('UP')
})

test('an ADD that fails gives the device back', async () => {
  use({ device: 'dev0', ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16', gw: '10.8.0.1' }] } })
  await expect(machine.cni.add(podNetwork(machine, 'one'))).rejects.toThrow('ENETUNREACH')
  expect([links(machine, machine.host), held()]).toEqual([['dev0'], []])
  const two = podNetwork(machine, 'two')
  machine.run(two.netns, 'ip', 'link', 'add', 'name', 'eth0', 'type', 'bridge')
  await expect(machine.cni.add(two)).rejects.toThrow('failed to move link dev0: "eth0" is in')
  expect(links(machine, machine.host)).toContain('dev0')
})

test('the address is given back when the namespace is gone, and when the device cannot be', async () => {
  use({ device: 'dev0' })
  const [one, two] = [podNetwork(machine, 'one'), podNetwork(machine, 'two')]
  await machine.cni.add(one)
  machine.run(machine.host, 'ip', 'link', 'add', 'name', 'dev0', 'type', 'bridge')
  await expect(machine.cni.del(one)).rejects.toThrow('failed to move eth0 to host netns: there is another dev0')
  expect([held(), linkOf(one.netns, 'eth0')?.flags.includes('UP')]).toEqual([[], false])
  machine.run(machine.host, 'ip', 'link', 'del', 'dev0')
  await machine.cni.del(one)
  expect(links(machine, machine.host)).toEqual(['dev0'])

  await machine.cni.add(two)
  unpinNamespace(two.netns)
  await machine.cni.del(two)
  expect(held()).toEqual([])
})

test('CHECK tells of another MAC', async () => {
  use({ device: 'dev0' })
  const one = podNetwork(machine, 'one')
  await machine.cni.add(one)
  machine.run(one.netns, 'ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:00:09')
  await expect(machine.cni.check(one)).rejects.toThrow('host-device: eth0 has the MAC 02:00:00:00:00:09')
})
