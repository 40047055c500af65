import { randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { nextAddress } from '../src/plugins/host-local/allocator.ts'
import { parseHostLocal } from '../src/plugins/host-local/config.ts'
import { hostLocal } from '../src/plugins/host-local/host-local.ts'
import { parseResolvConf } from '../src/plugins/host-local/resolv-conf.ts'
import { inProcess } from '../src/testing/index.ts'
import { addressBytes, lockFile } from '@nodelet/linux'

const value = (address: string): bigint => BigInt(`0x${addressBytes(address).toString('hex')}`)
const small = parseHostLocal({ ipam: { type: 'host-local', subnet: '10.0.0.0/29' } }).sets[0] ?? []
const two =
  parseHostLocal({
    ipam: {
      type: 'host-local',
      ranges: [
        [
          { subnet: '10.0.0.0/29', rangeEnd: '10.0.0.3' },
          { subnet: '10.1.0.0/29', rangeStart: '10.1.0.5' },
        ],
      ],
    },
  }).sets[0] ?? []

test.each([
  ['the first after the gateway', small, undefined, [], '10.0.0.2'],
  ['the one after the last', small, '10.0.0.3', [], '10.0.0.4'],
  ['round to the beginning, broadcast left out', small, '10.0.0.6', [], '10.0.0.2'],
  ['what is taken is passed over', small, '10.0.0.6', ['10.0.0.2', '10.0.0.3'], '10.0.0.4'],
  ['the last one that is free', small, '10.0.0.4', ['10.0.0.2', '10.0.0.3', '10.0.0.5', '10.0.0.6'], '10.0.0.4'],
  ['none', small, undefined, ['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6'], undefined],
  ['the next range', two, '10.0.0.3', [], '10.1.0.5'],
  ['back in the first range', two, '10.1.0.6', [], '10.0.0.2'],
] as [string, typeof small, string | undefined, string[], string | undefined][])(
  '%s',
  (_, ranges, last, taken, expected) => {
    const from = last === undefined ? undefined : value(last)
    expect(nextAddress(ranges, from, (address) => !taken.includes(address))?.address).toBe(expected)
  },
)

test.each([
  [{ ranges: [[]] }, 'ipam.ranges.0: empty range set'],
  [{ subnet: '10.0.0.0/31' }, 'network 10.0.0.0/31 too small to allocate from'],
  [{ subnet: '10.0.0.1/24' }, 'host bits set: for 10.0.0.1/24 it is 10.0.0.0/24'],
  [{ subnet: '10.0.0.0/24', rangeStart: '10.0.1.1' }, 'rangeStart 10.0.1.1 not in network 10.0.0.0/24'],
  [
    { subnet: '10.0.0.0/24', rangeStart: '10.0.0.9', rangeEnd: '10.0.0.5' },
    'rangeStart 10.0.0.9 is after rangeEnd 10.0.0.5',
  ],
  [{ subnet: '10.0.0.0/24', gateway: 'fd00::1' }, "gateway fd00::1 is not of the subnet's family"],
  [
    { ranges: [[{ subnet: '10.0.0.0/24' }], [{ subnet: '10.0.0.0/25' }]] },
    'ranges 10.0.0.0/24 and 10.0.0.0/25 overlap',
  ],
  [{ subnet: '10.0.0.0/24', routes: [{ dst: '10.0.0.0' }] }, 'ipam.routes.0.dst: invalid CIDR address: 10.0.0.0'],
  [{ subnet: 'x/24' }, 'not an IP address: "x"'],
  [{ ranges: 'x' }, 'ipam.ranges'],
])('%j is refused', (ipam, message) => {
  expect(() => parseHostLocal({ ipam: { type: 'host-local', ...ipam } })).toThrow(message)
})

test('ranges of the runtime come before those of the configuration', () => {
  const { sets } = parseHostLocal({
    ipam: { type: 'host-local', subnet: '10.0.0.0/29' },
    runtimeConfig: { ipRanges: [[{ subnet: '10.9.0.0/29' }]] },
  })
  expect(sets.map(([range]) => range?.subnet)).toEqual(['10.9.0.0/29', '10.0.0.0/29'])
})

test.each<[text: string, expected: object]>([
  ['', {}],
  ['# nameserver 1.1.1.1\n;search a\nnameserver\nunknown x\n', {}],
  [
    'nameserver 1.1.1.1 rest\n  nameserver\tfd00::53\ndomain a\ndomain b\nsearch a b\nsearch c\noptions ndots:5 edns0\n',
    {
      nameservers: ['1.1.1.1', 'fd00::53'],
      domain: 'b',
      search: ['a', 'b', 'c'],
      options: ['ndots:5', 'edns0'],
    },
  ],
])('of %j come %j', (text, expected) => {
  expect(parseResolvConf(text)).toEqual(expected)
})

describe('as a plugin', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'nodelet-host-local-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const ask = async (command: string, ipam: object, more: object = {}): Promise<Record<string, unknown>> => {
    const run = inProcess(hostLocal, { hostNetns: '/proc/self/ns/net', addressDir: folder })
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: randomUUID(),
      CNI_NETNS: '/none',
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/none',
    }
    const { stdout } = await run(env, JSON.stringify({ cniVersion: '1.1.0', name: 'n', ipam, ...more }))
    return stdout ? (JSON.parse(stdout) as Record<string, unknown>) : {}
  }

  test('the lines of resolvConf are the DNS of the result, routes are copied whole', async () => {
    const resolvConf = join(folder, 'resolv.conf')
    writeFileSync(resolvConf, 'nameserver 1.1.1.1\n')
    const routes = [{ dst: '0.0.0.0/0', mtu: 1400, priority: 5, table: 7 }]
    const result = await ask('ADD', { subnet: '10.0.0.0/24', gateway: '10.9.0.1', resolvConf, routes })
    expect(result).toMatchObject({
      ips: [{ address: '10.0.0.1/24', gateway: '10.9.0.1' }],
      dns: { nameservers: ['1.1.1.1'] },
      routes,
    })
  })

  test('it waits for the lock that other programs take, too', async () => {
    mkdirSync(join(folder, 'n'))
    const held = lockFile(join(folder, 'n/lock'))
    let isDone = false
    const result = ask('ADD', { subnet: '10.0.0.0/24' }).then((one) => {
      isDone = true
      return one
    })
    await setTimeout(100)
    expect([isDone, readdirSync(join(folder, 'n'))]).toEqual([false, ['lock']])
    held?.[Symbol.dispose]()
    expect(await result).toMatchObject({ ips: [{ address: '10.0.0.2/24' }] })
  })

  test('what other programs take and free between is seen', async () => {
    const addressOf = async (): Promise<unknown> => {
      const { ips } = (await ask('ADD', { subnet: '10.0.0.0/29' })) as { ips?: { address: string }[] }
      return ips?.[0]?.address
    }
    expect(await addressOf()).toBe('10.0.0.2/29')
    writeFileSync(join(folder, 'n/10.0.0.3'), 'other\r\neth0')
    // Of programs that were killed as they wrote.
    for (const name of ['.last_reserved_ip.0-77', '.10.0.0.5-dead']) writeFileSync(join(folder, 'n', name), '')
    expect(await addressOf()).toBe('10.0.0.4/29')
    rmSync(join(folder, 'n/10.0.0.2'))
    writeFileSync(join(folder, 'n/10.0.0.5'), 'other\r\neth0')
    expect(await addressOf()).toBe('10.0.0.6/29')
    expect(await addressOf()).toBe('10.0.0.2/29')
    expect(await addressOf()).toBeUndefined()
    expect(readdirSync(join(folder, 'n')).filter((name) => name.startsWith('.'))).toEqual([])
  })

  test('a file that is not there is told, and takes no address', async () => {
    const ipam = { subnet: '10.0.0.0/24', resolvConf: join(folder, 'none') }
    for (const command of ['ADD', 'STATUS']) {
      expect(await ask(command, ipam)).toMatchObject({
        code: 5,
        msg: expect.stringContaining('ipam.resolvConf: ENOENT') as string,
      })
    }
    expect(readdirSync(folder)).toEqual([])
  })

  test('STATUS names the sets that are full, until an address is free', async () => {
    const ranges = [[{ subnet: '10.0.0.0/24' }], [{ subnet: '10.1.0.0/30' }]]
    expect(await ask('STATUS', { ranges })).toEqual({})
    await ask('ADD', { ranges })
    expect(await ask('STATUS', { ranges })).toMatchObject({
      code: 50,
      msg: 'host-local: no IP addresses available in range set: 10.1.0.1-10.1.0.2',
    })
    rmSync(join(folder, 'n/10.1.0.2'))
    expect(await ask('STATUS', { ranges })).toEqual({})
  })

  test('ranges may be of the runtime alone, which STATUS and GC are not told', async () => {
    expect(await ask('ADD', {})).toMatchObject({ code: 7, msg: 'no IP ranges specified' })
    for (const command of ['STATUS', 'GC', 'DEL'])
      expect(await ask(command, {}, { 'cni.dev/valid-attachments': [] })).toEqual({})
    const runtimeConfig = { ipRanges: [[{ subnet: '10.9.0.0/24' }]] }
    expect(await ask('ADD', {}, { runtimeConfig })).toMatchObject({ ips: [{ address: '10.9.0.2/24' }] })
  })

  test('old versions have one set of a family', async () => {
    const ranges = [[{ subnet: '10.0.0.0/24' }], [{ subnet: '10.1.0.0/24' }]]
    expect(await ask('ADD', { ranges }, { cniVersion: '0.2.0' })).toMatchObject({
      code: 7,
      msg: 'CNI version 0.2.0 does not support more than 1 address per family',
    })
    expect(await ask('ADD', { ranges: [ranges[0], [{ subnet: 'fd00::/64' }]] }, { cniVersion: '0.2.0' })).toMatchObject(
      {
        ip4: { ip: '10.0.0.2/24' },
        ip6: { ip: 'fd00::2/64' },
      },
    )
  })
})
