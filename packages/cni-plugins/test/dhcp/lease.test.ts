import { addressBytes } from '@nodelet/linux'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { leaseOf, nextStep, retryDelayMs } from '../../src/plugins/dhcp/lease.ts'
import type { Failures, Lease, Step } from '../../src/plugins/dhcp/lease.ts'
import { option } from '../../src/plugins/dhcp/message.ts'

const addresses = (...all: string[]): Buffer => Buffer.concat(all.map(addressBytes))
const seconds = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
const given = (more: Record<number, Buffer> = {}): Lease => {
  const all = { [option.subnetMask]: addresses('255.255.255.0'), [option.server]: addresses('10.0.0.1'), ...more }
  const options = new Map(Object.entries(all).map(([code, value]) => [Number(code), value]))
  const message = {
    kind: 'reply',
    transaction: 1,
    broadcast: false,
    clientAddress: '0.0.0.0',
    mac: Buffer.alloc(6),
  } as const
  return leaseOf({ ...message, yourAddress: '10.0.0.9', options }, 1_000_000, '02:00:00:00:00:01')
}

test('a lease is of the server that gave it', () => {
  expect(given()).toMatchObject({
    address: '10.0.0.9/24',
    server: { address: '10.0.0.1', mac: '02:00:00:00:00:01' },
    routes: [],
  })
  expect(given()).not.toHaveProperty('gateway')
})

const classless = Buffer.from([24, 10, 1, 2, 10, 0, 0, 3, 0, 10, 0, 0, 4, 12, 172, 16, 0, 0, 0, 0])
const pairs = addresses('10.0.0.0', '10.0.0.5', '172.16.0.0', '10.0.0.6', '192.168.7.0', '10.0.0.7')

test.each<[what: string, options: Record<number, Buffer>, routes: object[]]>([
  ['a router', { [option.routers]: addresses('10.0.0.2', '10.0.0.3') }, [{ dst: '0.0.0.0/0', gw: '10.0.0.2' }]],
  [
    'static routes by their class, and a router',
    { [option.staticRoutes]: pairs, [option.routers]: addresses('10.0.0.2') },
    [
      { dst: '10.0.0.0/8', gw: '10.0.0.5' },
      { dst: '172.16.0.0/16', gw: '10.0.0.6' },
      { dst: '192.168.7.0/24', gw: '10.0.0.7' },
      { dst: '0.0.0.0/0', gw: '10.0.0.2' },
    ],
  ],
  [
    'classless routes: nothing else counts',
    { [option.classlessRoutes]: classless, [option.staticRoutes]: pairs, [option.routers]: addresses('10.0.0.2') },
    [
      { dst: '10.1.2.0/24', gw: '10.0.0.3' },
      { dst: '0.0.0.0/0', gw: '10.0.0.4' },
      { dst: '172.16.0.0/12', scope: 253 },
    ],
  ],
  [
    'a classless route that is cut off',
    { [option.classlessRoutes]: classless.subarray(0, 12) },
    [{ dst: '10.1.2.0/24', gw: '10.0.0.3' }],
  ],
  [
    'classless routes of no use',
    { [option.classlessRoutes]: Buffer.from([33, 1, 2, 3, 4, 5, 6, 7, 8]), [option.routers]: addresses('10.0.0.2') },
    [{ dst: '0.0.0.0/0', gw: '10.0.0.2' }],
  ],
])('routes of %s', (_, options, routes) => {
  expect(given(options).routes).toEqual(routes)
})

test.each<[what: string, options: Record<number, Buffer>, times: (number | null)[]]>([
  ['an hour unless it is said', {}, [1800, 3060, 3600]],
  ['shares of the time', { [option.leaseTime]: seconds(100) }, [50, 85, 100]],
  [
    'as they are said',
    { [option.leaseTime]: seconds(100), [option.renewalTime]: seconds(10), [option.rebindingTime]: seconds(20) },
    [10, 20, 100],
  ],
  [
    'later than the lease',
    { [option.leaseTime]: seconds(100), [option.renewalTime]: seconds(90), [option.rebindingTime]: seconds(101) },
    [50, 85, 100],
  ],
  ['an early second one', { [option.leaseTime]: seconds(100), [option.rebindingTime]: seconds(20) }, [20, 20, 100]],
  ['for ever', { [option.leaseTime]: seconds(0xffff_ffff) }, [null, null, null]],
  ['numbers that are none', { [option.leaseTime]: Buffer.alloc(3) }, [1800, 3060, 3600]],
])('times: %s', (_, options, times) => {
  const { renewMs, rebindMs, expireMs } = given(options)
  expect([renewMs, rebindMs, expireMs].map((one) => one && (one - 1_000_000) / 1000)).toEqual(times)
})

test('a lease without a subnet, or with one of gaps, is none', () => {
  expect(() => given({ [option.subnetMask]: Buffer.alloc(3) })).toThrow('DHCP option Subnet Mask not found in DHCPACK')
  expect(() => given({ [option.subnetMask]: addresses('255.0.255.0') })).toThrow('Subnet Mask 255.0.255.0 has gaps')
  expect(given({ [option.subnetMask]: addresses('255.255.255.255') }).address).toBe('10.0.0.9/32')
})

const hundred = { ...given(), renewMs: 50, rebindMs: 85, expireMs: 100 }

test.each<[nowMs: number, failures: Failures | undefined, step: Step]>([
  [0, undefined, { kind: 'wait', untilMs: 50 }],
  [50, undefined, { kind: 'renew', untilMs: 85 }],
  [84, undefined, { kind: 'renew', untilMs: 85 }],
  [85, undefined, { kind: 'rebind', untilMs: 100 }],
  [100, undefined, { kind: 'expire' }],
  [60, { count: 1, lastMs: 60 }, { kind: 'wait', untilMs: 70 }],
  [70, { count: 1, lastMs: 60 }, { kind: 'renew', untilMs: 85 }],
  [80, { count: 2, lastMs: 80 }, { kind: 'wait', untilMs: 85 }],
  [85, { count: 2, lastMs: 84 }, { kind: 'rebind', untilMs: 100 }],
  [86, { count: 3, lastMs: 86 }, { kind: 'wait', untilMs: 100 }],
  [100, { count: 3, lastMs: 86 }, { kind: 'expire' }],
])('at %d after %j: %j', (nowMs, failures, step) => {
  expect(nextStep(hundred, nowMs, failures, (count) => count * 10)).toEqual(step)
})

test('a lease for ever is kept', () => {
  const step = nextStep({ ...hundred, renewMs: null, rebindMs: null, expireMs: null }, 1e15, undefined, () => 0)
  expect(step).toEqual({ kind: 'keep' })
})

test('however tries end, a lease that nobody prolongs comes to its end, without a standstill', () => {
  const tries = fc.array(fc.nat(20), { minLength: 1, maxLength: 50 })
  fc.assert(
    fc.property(tries, (durations) => {
      let nowMs = 0
      let failures = undefined as Failures | undefined
      for (let steps = 0; steps < 1000; steps += 1) {
        const step = nextStep(hundred, nowMs, failures, () => 5)
        if (step.kind === 'expire') {
          expect(nowMs).toBe(100)
          return
        }
        if (step.kind === 'keep') throw new Error('it is not for ever')
        if (step.kind === 'wait') expect(step.untilMs).toBeGreaterThan(nowMs)
        const length = step.kind === 'wait' ? Infinity : (durations[steps % durations.length] ?? 0)
        nowMs = Math.min(step.untilMs, nowMs + length)
        if (step.kind !== 'wait') failures = { count: (failures?.count ?? 0) + 1, lastMs: nowMs }
      }
      throw new Error('it never ended')
    }),
  )
})

test('tries are close at first, then ever further apart', () => {
  const delays = Array.from({ length: 11 }, (_, index) => retryDelayMs(index + 1, 62_000, 0.5) / 1000)
  expect(delays).toEqual([2, 2, 2, 2, 4, 8, 16, 32, 62, 62, 62])
  expect([retryDelayMs(1, 62_000, 0), retryDelayMs(1, 62_000, 1)]).toEqual([1000, 3000])
  expect(retryDelayMs(1, 500, 0)).toBe(0)
})
