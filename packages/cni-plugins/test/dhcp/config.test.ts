import { expect, test } from 'vitest'
import { parseDhcp, providedOptions } from '../../src/plugins/dhcp/config.ts'
import { clientId } from '../../src/plugins/dhcp/client.ts'
import { parseDaemonOptions } from '../../src/plugins/dhcp/daemon.ts'

test.each<[ipam: object, expected: object]>([
  [{}, { priority: 0, provide: [], request: [3, 1] }],
  [
    { daemonSocketPath: '/x', priority: 9 },
    { daemonSocketPath: '/x', priority: 9 },
  ],
  [{ request: [{ option: '121' }, { option: 'subnet-mask' }] }, { request: [121, 1, 3] }],
  [{ request: [{ option: '121', skipDefault: true }] }, { request: [121] }],
  [{ provide: [{ option: 'user-class', value: 'a' }] }, { provide: [{ code: 77, value: 'a', fromArg: undefined }] }],
])('%j', (ipam, expected) => {
  expect(parseDhcp({ ipam })).toMatchObject(expected)
})

test.each([
  [{ request: [{ option: 'speed' }] }, 'Can not parse option "speed"'],
  [{ request: [{ option: '256' }] }, 'Can not parse option "256"'],
  [{ provide: [{ option: '0', value: 'a' }] }, 'Can not parse option "0"'],
  [{ priority: -1 }, 'ipam.priority'],
])('%j is refused', (ipam, message) => {
  expect(() => parseDhcp({ ipam })).toThrow(message)
})

test('values of the pod count more than those of the network', () => {
  const config = parseDhcp({
    ipam: {
      provide: [
        { option: 'host-name', value: 'web', fromArg: 'NAME' },
        { option: '60', fromArg: 'CLASS' },
        { option: '61', value: 'id' },
      ],
    },
  })
  expect(providedOptions(config, {})).toEqual([
    { code: 12, value: 'web' },
    { code: 61, value: 'id' },
  ])
  expect(providedOptions(config, { NAME: 'pod', CLASS: 'c' })).toEqual([
    { code: 12, value: 'pod' },
    { code: 60, value: 'c' },
    { code: 61, value: 'id' },
  ])
  expect(() => providedOptions(config, { NAME: 'x'.repeat(256) })).toThrow('value too long for option 12')
})

test('the name of a client fits in an option', () => {
  expect(clientId('a/b/c')).toEqual(Buffer.from('\0a/b/c'))
  expect(clientId('x'.repeat(300))).toHaveLength(255)
})

test("the daemon's options", () => {
  expect(parseDaemonOptions([])).toEqual({
    pidFile: '',
    hostPrefix: '',
    socketPath: '/run/cni/dhcp.sock',
    broadcast: false,
    timeoutMs: 10_000,
    resendMaxMs: 62_000,
    resendTimeoutMs: 208_000,
  })
  const args = [
    '-pidfile=/p',
    '-hostprefix',
    '/host',
    '-socketpath',
    '/s',
    '-broadcast=true',
    '--timeout',
    '1m30.5s',
    '-resendmax=5ms',
  ]
  expect(parseDaemonOptions(args)).toMatchObject({
    pidFile: '/p',
    hostPrefix: '/host',
    socketPath: '/s',
    broadcast: true,
    timeoutMs: 90_500,
    resendMaxMs: 5,
  })
})
