// firewall by firewalld, which runs on the test's machine.
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { CniResult } from '../src/index.ts'
import { openBus } from '../src/plugins/firewall/bus.ts'
import { decodeAnswer, encodeCall, lengthOf } from '../src/plugins/firewall/dbus-message.ts'
import { firewall } from '../src/plugins/firewall/firewall.ts'
import { inProcess } from '../src/testing/index.ts'
import { startBus } from './firewalld.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'

let machine: TestMachine

beforeEach(() => {
  machine = makeMachine({})
})
afterEach(() => machine[Symbol.dispose]())

const prevResult: CniResult = {
  cniVersion: '1.1.0',
  interfaces: [{ name: 'br0' }, { name: 'eth0', sandbox: '/pod' }],
  ips: [
    { address: '10.77.0.2/24', interface: 1 },
    { address: 'fd77::2/112', interface: 1 },
  ],
  routes: [],
  dns: {},
}
const call = async (command: string, keys: object = {}): Promise<{ exitCode: number; stdout: string }> => {
  const form = inProcess(firewall, { hostNetns: machine.host, addressDir: machine.folder })
  const ids = { CNI_CONTAINERID: 'one', CNI_NETNS: join(machine.folder, 'pod'), CNI_IFNAME: 'eth0', CNI_PATH: '/' }
  const config = { cniVersion: '1.1.0', name: 'test', type: 'firewall', prevResult, ...keys }
  return form({ ...ids, CNI_COMMAND: command }, JSON.stringify(config))
}
const done = { exitCode: 0 }
const refused = (text: string): object => ({ exitCode: 1, stdout: expect.stringContaining(text) as string })
const ruleset = (): string => machine.run(machine.host, 'nft', 'list', 'ruleset')
/** The table says that packets from both addresses belong to the zone. */
const expectZone = (zone: string): void => {
  for (const address of ['ip saddr 10.77.0.2', 'ip6 saddr fd77::2'])
    expect(ruleset()).toContain(`${address} goto filter_FWD_${zone}`)
}

test('addresses of pods become sources of a zone, by default where firewalld runs', { timeout: 120_000 }, async () => {
  machine.pod('pod')
  await using running = await startBus(machine)
  expect(await call('STATUS', { backend: 'firewalld' })).toMatchObject(refused('firewalld does not run'))
  expect(await call('ADD', { backend: 'firewalld' })).toMatchObject(refused('failed to add the address 10.77.0.2/32'))
  expect(await call('ADD')).toMatchObject(done)
  expect(machine.run(machine.host, 'iptables-save')).toContain('-A CNI-FORWARD -s 10.77.0.2/32 -j ACCEPT')
  expect(await call('DEL')).toMatchObject(done)
  await running.startFirewalld()
  expect(await call('STATUS')).toMatchObject(done)
  expect(await call('ADD')).toMatchObject(done)
  expectZone('trusted')
  expect(machine.run(machine.host, 'iptables-save')).not.toContain('10.77.0.2')
  expect(await call('ADD')).toMatchObject(done) // ZONE_ALREADY_SET
  expect(await call('CHECK')).toMatchObject(done)
  expect(await call('CHECK', { firewalldZone: 'home' })).toMatchObject(
    refused('failed to find the address 10.77.0.2/32 in home zone'),
  )
  expect(await call('DEL')).toMatchObject(done)
  expect(await call('DEL')).toMatchObject(done)
  expect(await call('DEL', { prevResult: undefined })).toMatchObject(done)
  expect(ruleset()).not.toMatch(/10\.77\.0\.2|fd77::2/)
  expect(await call('CHECK')).toMatchObject(refused('failed to find the address 10.77.0.2/32 in trusted zone'))

  // Bridges are kept apart by iptables all the same.
  const keys = { firewalldZone: 'home', ingressPolicy: 'isolated' }
  expect(await call('ADD', keys)).toMatchObject(done)
  expectZone('home')
  expect(await call('CHECK', keys)).toMatchObject(done)
  const rules = machine.run(machine.host, 'iptables-save', '-t', 'filter')
  expect(rules).toContain('-A CNI-ISOLATION-STAGE-1 -i br0 -o br0')
  expect(rules).not.toContain('CNI-FORWARD')
  const unknown = await call('ADD', { firewalldZone: 'nowhere' })
  expect(unknown).toMatchObject(refused('INVALID_ZONE'))
  expect(await call('DEL', keys)).toMatchObject(done)
})

test('a bus that is not there, hangs or prints nonsense fails the call, and is told', { timeout: 60_000 }, async () => {
  machine.pod('pod')
  vi.stubEnv('DBUS_SYSTEM_BUS_ADDRESS', `unix:path=${machine.folder}/none`)
  expect(await call('ADD', { backend: 'firewalld' })).toMatchObject(
    refused('firewalld cannot be asked: connect ENOENT'),
  )
  vi.stubEnv('DBUS_SYSTEM_BUS_ADDRESS', 'tcp:host=localhost')
  expect(await call('ADD', { backend: 'firewalld' })).toMatchObject(refused('not the path of a socket'))
  const path = join(machine.folder, 'odd')
  let answer: Buffer | undefined = Buffer.from('REJECTED DBUS_COOKIE_SHA1\r\n')
  const server = createServer((socket) => {
    socket.on('error', () => {})
    if (answer) socket.end(answer)
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  vi.stubEnv('DBUS_SYSTEM_BUS_ADDRESS', `unix:path=${path}`)
  await expect(openBus(AbortSignal.timeout(10_000))).rejects.toThrow('REJECTED DBUS_COOKIE_SHA1')
  answer = Buffer.concat([Buffer.from('OK x\r\n'), Buffer.alloc(100, 'B')])
  await expect(openBus(AbortSignal.timeout(10_000))).rejects.toThrow('not little endian')
  answer = Buffer.from('OK x\r\n')
  await expect(openBus(AbortSignal.timeout(10_000))).rejects.toThrow()
  answer = undefined
  await expect(openBus(AbortSignal.timeout(100))).rejects.toThrow(/abort|timeout/i)
  server.close()
  vi.unstubAllEnvs()
})

test('a call has the bytes that the specification says, and cut or odd answers are refused', () => {
  const hello = { destination: 'a.b', path: '/a', interface: 'a.b', member: 'M', args: ['x', 'yz'] }
  const bytes = encodeCall(7, hello)
  expect(lengthOf(bytes)).toBe(bytes.length)
  expect(lengthOf(bytes.subarray(0, 15))).toBe(undefined)
  // A call is no answer; made one, its strings are read.
  expect(decodeAnswer(bytes)).toBe(undefined)
  bytes[1] = 2
  expect(decodeAnswer(bytes)).toEqual({ serial: 0, value: 'x' })
  expect(bytes.subarray(0, 12)).toEqual(Buffer.from([0x6c, 2, 0, 1, 15, 0, 0, 0, 7, 0, 0, 0]))
  bytes.writeUInt32LE(2 ** 30, 4)
  expect(() => lengthOf(bytes)).toThrow('an answer of')
})
