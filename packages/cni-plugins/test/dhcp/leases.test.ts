import { readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openLeases } from '../../src/plugins/dhcp/leases.ts'
import type { LeaseRequest, LeasesOptions } from '../../src/plugins/dhcp/leases.ts'
import { makeDhcpNetwork } from './network.ts'
import type { DhcpNetwork } from './network.ts'

let network: DhcpNetwork
let warnings: string[]
const opened: AsyncDisposable[] = []

beforeEach(() => {
  network = makeDhcpNetwork()
  warnings = []
})
afterEach(async () => {
  for (const one of opened.splice(0)) await one[Symbol.asyncDispose]()
  await network[Symbol.asyncDispose]()
})

const signal = (): AbortSignal => AbortSignal.timeout(20_000)
const folder = (): string => join(network.machine.folder, 'leases')
const records = (): string[] => readdirSync(folder())
function open(options: Partial<LeasesOptions> = {}): ReturnType<typeof openLeases> {
  const log = { warn: (fields: object, message: string) => void warnings.push(message, JSON.stringify(fields)) }
  const leases = openLeases({ folder: folder(), log, ...options })
  opened.push(leases)
  return leases
}
const requestOf = (name: string, more: Partial<LeaseRequest> = {}): LeaseRequest => ({
  containerId: name,
  network: 'net',
  ifName: 'eth0',
  netns: network.pod(name),
  provide: [],
  request: [3, 1],
  ...more,
})
const isUp = (netns: string): boolean => network.machine.run(netns, 'ip', '-o', 'link', 'show', 'eth0').includes(',UP')
const count = (text: string): number => network.log().split(text).length - 1

test('a lease is got, held, asked for once, and given back', async () => {
  await network.serve()
  const leases = open()
  const one = requestOf('one', { provide: [{ code: 12, value: 'web' }] })
  const lease = await leases.allocate(one, signal())
  expect(lease).toMatchObject({
    address: expect.stringMatching(/^10\.88\.0\.\d+\/24$/) as string,
    gateway: '10.88.0.1',
    routes: [{ dst: '0.0.0.0/0', gw: '10.88.0.1' }],
    server: { address: '10.88.0.1' },
  })
  expect(isUp(one.netns)).toBe(true)
  expect(network.log()).toContain('client provides name: web')
  expect(network.log()).toMatch(/requested options: 3:router, 1:netmask\n/)
  expect(await leases.allocate(one, signal())).toEqual(lease)
  expect(count('DHCPDISCOVER')).toBe(1)
  expect(records()).toHaveLength(1)
  const two = await leases.allocate(requestOf('two'), signal())
  expect(two.address).not.toBe(lease.address)

  await leases.release(one, signal())
  await leases.release(one, signal())
  await expect.poll(network.released).toEqual([lease.address.split('/')[0]])
  await leases.releaseOthers('other', [], signal())
  await leases.releaseOthers('net', [{ containerId: 'two', ifName: 'eth0' }], signal())
  expect(records()).toHaveLength(1)
  await leases.releaseOthers('net', [], signal())
  await expect.poll(network.released).toHaveLength(2)
  expect([records(), warnings]).toEqual([[], []])
})

test('servers may answer to all', async () => {
  await network.serve()
  const lease = await open({ broadcast: true }).allocate(requestOf('one'), signal())
  expect(lease.address).toMatch(/^10\.88\.0\./)
  expect(network.log()).toContain('broadcast response')
})

test('static routes come by both options', async () => {
  await network.serve(
    '--dhcp-option=33,172.16.0.0,10.88.0.7',
    '--dhcp-option=121,10.99.0.0/16,10.88.0.8,0.0.0.0/0,10.88.0.9',
  )
  const leases = open()
  expect((await leases.allocate(requestOf('one', { request: [3, 1, 33] }), signal())).routes).toEqual([
    { dst: '172.16.0.0/16', gw: '10.88.0.7' },
    { dst: '0.0.0.0/0', gw: '10.88.0.1' },
  ])
  expect((await leases.allocate(requestOf('two', { request: [3, 1, 33, 121] }), signal())).routes).toEqual([
    { dst: '10.99.0.0/16', gw: '10.88.0.8' },
    { dst: '0.0.0.0/0', gw: '10.88.0.9' },
  ])
})

/** A pod whose lease ends in a few seconds unless it is prolonged. */
async function briefly(seconds: number): Promise<LeaseRequest> {
  await network.serveBriefly(seconds)
  const leases = open({ timeoutMs: 300, resendMaxMs: 100 })
  const one = requestOf('one')
  const { address } = await leases.allocate(one, signal())
  network.machine.run(one.netns, 'ip', 'addr', 'add', address, 'dev', 'eth0')
  return one
}

test('a lease is prolonged by its server, time after time', async () => {
  const one = await briefly(2)
  const offers = count('sending OFFER')
  await expect.poll(() => count('sending ACK')).toBeGreaterThanOrEqual(4)
  expect(count('sending OFFER')).toBe(offers)
  expect(isUp(one.netns)).toBe(true)
  expect(warnings).toEqual([])
})

test('where its server is gone, a lease is prolonged by another', async () => {
  const one = await briefly(8)
  await network.stopServer()
  network.machine.run(network.machine.host, 'ip', 'addr', 'add', '10.88.0.2/24', 'dev', 'br0')
  network.machine.run(network.machine.host, 'ip', 'addr', 'del', '10.88.0.1/24', 'dev', 'br0')
  network.machine.run(network.machine.host, 'ip', 'addr', 'replace', '10.88.0.2/24', 'dev', 'br0')
  await network.serve()
  await expect.poll(() => count('DHCPACK')).toBe(1)
  expect(warnings.join()).toContain('no DHCP server answered within 0.3 s')
  expect(count('DHCPDISCOVER')).toBe(0)
  expect(isUp(one.netns)).toBe(true)
})

test('a lease that is refused takes its link down', async () => {
  const one = await briefly(8)
  await network.stopServer()
  network.machine.run(network.machine.host, 'ip', 'addr', 'add', '10.89.0.1/24', 'dev', 'br0')
  network.machine.run(network.machine.host, 'ip', 'addr', 'del', '10.88.0.1/24', 'dev', 'br0')
  await network.serve('--dhcp-range=10.89.0.10,10.89.0.20,255.255.255.0,2m')
  await expect.poll(() => isUp(one.netns)).toBe(false)
  expect(count('DHCPNAK')).toBe(1)
  expect(warnings).toContain('the DHCP lease is refused, its link goes down')
  await expect.poll(records).toEqual([])
})

test('a lease that nobody prolongs ends, and takes its link down', async () => {
  await network.serveBriefly(3)
  const leases = open({ timeoutMs: 200, resendMaxMs: 100 })
  const one = requestOf('one')
  const { expireMs } = await leases.allocate(one, signal())
  expect(expireMs! - Date.now()).toBeLessThanOrEqual(3_000)
  await network.stopServer()
  await expect.poll(() => isUp(one.netns)).toBe(false)
  expect(Date.now()).toBeGreaterThanOrEqual(expireMs!)
  expect(warnings).toContain('the DHCP lease is over, its link goes down')
  await expect.poll(records).toEqual([])
  // It is as if there had been none.
  await network.serveBriefly(60)
  expect((await leases.allocate(one, signal())).address).toMatch(/^10\.88\./)
  expect(isUp(one.netns)).toBe(true)
})

test('without a server it is given up in time, or when nobody waits any more', async () => {
  const leases = open({ timeoutMs: 200, resendMaxMs: 50, resendTimeoutMs: 500 })
  const one = requestOf('one')
  await expect(leases.allocate(one, signal())).rejects.toMatchObject({
    code: 11,
    message: 'no DHCP lease for eth0: no DHCP server answered within 0.2 s',
  })
  const patient = open()
  await expect(patient.allocate(one, AbortSignal.abort(new Error('over')))).rejects.toThrow('over')
  const brief = patient.allocate(one, AbortSignal.timeout(300))
  await expect(brief).rejects.toMatchObject({ name: 'TimeoutError' })
  await patient.release(one, signal())
})

test('a pod without the link is told', async () => {
  const netns = network.machine.pod('bare')
  await expect(open().allocate({ ...requestOf('one'), netns }, signal())).rejects.toThrow('error looking up "eth0"')
})

test.each([
  ['its link', (netns: string) => network.machine.run(netns, 'ip', 'link', 'del', 'eth0')],
  ['the other end of its link', () => network.machine.run(network.machine.host, 'ip', 'link', 'del', 'pod1')],
])('a lease ends with %s', async (_, remove) => {
  await network.serve()
  const leases = open()
  const one = requestOf('one')
  await leases.allocate(one, signal())
  remove(one.netns)
  await expect.poll(records).toEqual([])
  await leases.release(one, signal())
  expect(warnings).toEqual([])
})

test('a server hears that a lease is given back though its MAC is another by now', async () => {
  await network.serve()
  const leases = open()
  const one = requestOf('one')
  await leases.allocate(one, signal())
  network.machine.run(network.machine.host, 'ip', 'link', 'set', 'br0', 'address', '02:00:00:00:00:77')
  await leases.release(one, signal())
  await expect.poll(network.released).toHaveLength(1)
})

test('a lease whose link is down ends here, and at its server in time', async () => {
  await network.serve()
  const leases = open()
  const one = requestOf('one')
  await leases.allocate(one, signal())
  network.machine.run(one.netns, 'ip', 'link', 'set', 'eth0', 'down')
  await leases.release(one, signal())
  expect(records()).toEqual([])
  expect(warnings).toEqual(['a DHCP lease is not given back', expect.stringContaining('ENETDOWN')])
  expect(count('DHCPRELEASE')).toBe(0)
})

test('the next life keeps what the last one held, and forgets what is gone', async () => {
  await network.serve()
  const [one, two] = [requestOf('one'), requestOf('two')]
  const first = open()
  const lease = await first.allocate(one, signal())
  await first.allocate(two, signal())
  await first[Symbol.asyncDispose]()
  expect(count('DHCPRELEASE')).toBe(0)
  network.machine.run(two.netns, 'ip', 'link', 'del', 'eth0')
  writeFileSync(join(folder(), 'x.json'), '{"request":')

  const next = open()
  expect(await next.allocate(one, signal())).toEqual(lease)
  expect(count('DHCPDISCOVER')).toBe(2)
  expect(records()).toHaveLength(1)
  expect(warnings.join()).toContain('a DHCP lease cannot be read')
  await next.release(one, signal())
  await expect.poll(network.released).toHaveLength(1)
})

test('a lease whose namespace cannot be looked at is held on to', async () => {
  await network.serve()
  const first = open()
  await first.allocate(requestOf('one'), signal())
  await first[Symbol.asyncDispose]()
  const loop = join(network.machine.folder, 'loop')
  symlinkSync(loop, loop)
  const second = open({ hostPrefix: loop })
  await second.releaseOthers('other', [], signal())
  expect(records()).toHaveLength(1)
  expect(warnings[1]).toContain('ELOOP')
})

test('many pods at once get an address each', async () => {
  await network.serve()
  const leases = open()
  const all = Array.from({ length: 20 }, (_, index) => requestOf(`pod-${index}`))
  const given = await Promise.all(all.map(async (one) => leases.allocate(one, signal())))
  expect(new Set(given.map(({ address }) => address)).size).toBe(20)
  await leases.releaseOthers('net', [], signal())
  await expect.poll(() => new Set(network.released()).size).toBe(20)
})
