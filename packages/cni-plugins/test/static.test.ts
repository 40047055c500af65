import { expect, test } from 'vitest'
import { addressesOf, parseStatic } from '../src/plugins/static/config.ts'
import { staticIpam } from '../src/plugins/static/static.ts'
import { makeMachine } from './machine.ts'

const first = { address: '10.0.0.5/24', gateway: '10.0.0.254' }
const second = { address: 'fd00::5/64' }
const configured = { addresses: [first, second] }

test.each<[what: string, more: object, args: Record<string, string>, expected: object[]]>([
  ['those of the configuration', {}, {}, [first, second]],
  [
    'IP adds to them',
    {},
    { IP: '10.2.0.4/16, fd02::4/64' },
    [first, second, { address: '10.2.0.4/16' }, { address: 'fd02::4/64' }],
  ],
  [
    'GATEWAY is of the address whose subnet holds it',
    {},
    { IP: '10.2.0.4/16', GATEWAY: 'fd00::1,10.2.0.1,10.9.0.1' },
    [first, { address: 'fd00::5/64', gateway: 'fd00::1' }, { address: '10.2.0.4/16', gateway: '10.2.0.1' }],
  ],
  [
    'args take the place of all',
    { args: { cni: { ips: ['10.3.0.4/8'] } } },
    { IP: '10.2.0.4/16' },
    [{ address: '10.3.0.4/8' }],
  ],
  [
    "the runtime's take the place of those, too",
    { args: { cni: { ips: ['10.3.0.4/8'] } }, runtimeConfig: { ips: ['10.4.0.4/8', 'fd04::4/64'] } },
    {},
    [{ address: '10.4.0.4/8' }, { address: 'fd04::4/64' }],
  ],
  ['empty lists take no place', { args: { cni: { ips: [] } }, runtimeConfig: { ips: [] } }, {}, [first, second]],
])('%s', (_, more, args, expected) => {
  expect(addressesOf(parseStatic({ ipam: configured, ...more }), args, '1.1.0')).toEqual(expected)
})

test.each<[config: object, args: Record<string, string>, cniVersion: string, message: string]>([
  [
    { ipam: { addresses: [{ address: '10.0.0.5' }] } },
    {},
    '1.1.0',
    "the 'address' field is expected to be in CIDR notation, got: '10.0.0.5'",
  ],
  [{ ipam: { addresses: [{ address: '10.0.0.5/33' }] } }, {}, '1.1.0', "the 'address' field is expected"],
  [{ ipam: {}, runtimeConfig: { ips: ['10.0.0.5'] } }, {}, '1.1.0', "the 'address' field is expected"],
  [{ ipam: {} }, { IP: '1.2.3.4' }, '1.1.0', "the 'ip' field is expected to be in CIDR notation, got: '1.2.3.4'"],
  [{ ipam: {} }, { GATEWAY: 'zz' }, '1.1.0', 'invalid gateway address: zz'],
  [{ ipam: { addresses: [{ address: '10.0.0.5/24', gateway: 'x' }] } }, {}, '1.1.0', 'invalid gateway address: x'],
  [
    { ipam: { addresses: [{ address: '10.0.0.5/24' }, { address: '10.0.0.6/24' }] } },
    {},
    '0.2.0',
    'CNI version 0.2.0 does not support more than 1 address per family',
  ],
  [{ ipam: { routes: [{ dst: '10.0.0.0' }] } }, {}, '1.1.0', 'ipam.routes.0.dst: invalid CIDR address: 10.0.0.0'],
  [{ ipam: { routes: [{ dst: '10.0.0.0/8', gw: '1' }] } }, {}, '1.1.0', 'ipam.routes.0.gw: invalid IP address: 1'],
  [{ ipam: { dns: { nameservers: '1.1.1.1' } } }, {}, '1.1.0', 'ipam.dns.nameservers'],
  [{}, {}, '1.1.0', 'ipam'],
])('%j with %j of %s is refused', (config, args, cniVersion, message) => {
  expect(() => addressesOf(parseStatic(config), args, cniVersion)).toThrow(message)
})

const list = {
  cniVersion: '1.1.0',
  name: 'test',
  plugins: [
    {
      type: 'bridge',
      bridge: 'br0',
      capabilities: { ips: true },
      ipam: {
        type: 'static',
        addresses: [{ address: '10.77.0.9/24', gateway: '10.77.0.1' }, { address: 'fd77::9/64' }],
        routes: [{ dst: '10.99.0.0/16', gw: '10.77.0.7' }, { dst: '0.0.0.0/0' }],
        dns: { nameservers: ['10.77.0.53'] },
      },
    },
  ],
}

test('a pod gets what is written, or what the runtime asks for', async () => {
  using machine = makeMachine(list)
  const one = { containerId: 'one', netns: machine.pod('one'), ifName: 'eth0' }
  const result = await machine.cni.add(one)
  expect(result).toMatchObject({
    ips: [{ address: '10.77.0.9/24', gateway: '10.77.0.1', interface: 2 }, { address: 'fd77::9/64' }],
    dns: { nameservers: ['10.77.0.53'] },
  })
  const addresses = machine.run(one.netns, 'ip', '-o', 'addr', 'show', 'eth0')
  expect(addresses).toContain('10.77.0.9/24')
  expect(addresses).toContain('fd77::9/64')
  const routes = machine.run(one.netns, 'ip', 'route')
  expect(routes).toContain('10.99.0.0/16 via 10.77.0.7')
  expect(routes).toContain('default via 10.77.0.1')
  await machine.cni.check(one)
  await machine.cni.del(one)
  const two = { containerId: 'two', netns: machine.pod('two'), ifName: 'eth0' }
  const asked = await machine.cni.add({ ...two, capabilityArgs: { ips: ['10.77.0.8/24'] } })
  expect(asked.ips.map(({ address }) => address)).toEqual(['10.77.0.8/24'])
})

test.each([
  ['the address and its gateway', [{ address: '10.0.0.5/24', gateway: '10.0.0.254' }], undefined],
  ['beside others', [{ address: '10.9.0.5/24' }, { address: '10.0.0.5/16', gateway: '10.0.0.254' }], undefined],
  [
    'another address',
    [{ address: '10.0.0.6/24', gateway: '10.0.0.254' }],
    'static: Failed to match addr 10.0.0.5 on interface eth0',
  ],
  ['another gateway', [{ address: '10.0.0.5/24', gateway: '10.0.0.1' }], 'static: Failed to match addr 10.0.0.5'],
])('CHECK of %s', async (_, ips, message) => {
  const request = {
    network: { containerId: 'c', ifName: 'eth0', netns: '', args: {} },
    config: { type: 'static', name: 'n', cniVersion: '1.1.0', ipam: { addresses: [first] } },
    prevResult: { cniVersion: '1.1.0', interfaces: [], ips, routes: [], dns: {} },
  }
  const checked = staticIpam.check(request, undefined as never, AbortSignal.timeout(1_000))
  if (message === undefined) await checked
  else await expect(checked).rejects.toThrow(message)
})
