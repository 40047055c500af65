import { expect, test } from 'vitest'
import { portmapRules } from '../src/plugins/portmap/rules.ts'
import { parseResult } from '../src/libcni/parse-result.ts'
import { toVersion } from '../src/libcni/print-result.ts'
import { isBefore } from '../src/libcni/versions.ts'

test.each([
  ['0.4.0', '1.0.0', true],
  ['1.0.0', '1.0.0', false],
  ['1.1.0', '1.0.0', false],
  ['0.10.0', '0.9.0', false],
])('%s before %s: %s', (one, other, expected) => expect(isBefore(one, other)).toBe(expected))

test('older programs get the family of each address, newer ones do not', () => {
  const old = {
    cniVersion: '0.4.0',
    interfaces: [{ name: 'eth0', mtu: 1400, sandbox: '/n' }],
    ips: [
      { version: '4', address: '10.0.0.2/24', interface: 0 },
      { version: '6', address: 'fd00::2/64' },
    ],
    dns: null,
  }
  const result = parseResult('plugin "x"', old, '0.4.0')
  expect(toVersion(result, '0.4.0')).toEqual({
    cniVersion: '0.4.0',
    interfaces: [{ name: 'eth0', sandbox: '/n' }],
    ips: old.ips,
    routes: [],
    dns: {},
  })
  expect(toVersion(result, '1.0.0')).toEqual({
    cniVersion: '1.0.0',
    interfaces: old.interfaces,
    ips: [{ address: '10.0.0.2/24', interface: 0 }, { address: 'fd00::2/64' }],
  })
  expect(() => parseResult('plugin "x"', { ips: [{ address: 7 }] }, '1.0.0')).toThrow(
    'result of plugin "x": ips.0.address',
  )
  expect(parseResult('plugin "x"', null, '1.0.0')).toMatchObject({ cniVersion: '1.0.0', ips: [] })
})

const options = {
  network: 'n',
  containerId: 'c',
  mappings: [{ hostPort: 80, containerPort: 8080, protocol: 'tcp' as const }],
  podAddress: '10.0.0.2/24',
  snat: true,
  masqAll: false,
  family: 4 as const,
  conditions: [],
  mark: { bit: 13 },
}

test('shared chains: only what is missing is made, and what is there is never emptied', () => {
  const shared = portmapRules(options, []).filter((line) => !line.includes('CNI-DN-'))
  expect(shared).toHaveLength(8)
  const saved = shared.map((line) => line.replace('-I POSTROUTING', '-A POSTROUTING').replace(' - [0:0]', ' - [3:9]'))
  expect(portmapRules(options, saved).filter((line) => !line.includes('CNI-DN-'))).toEqual([])
  const without = saved.filter((line) => !line.startsWith(':CNI-HOSTPORT-MASQ') && !line.startsWith('-A OUTPUT'))
  expect(portmapRules(options, without).filter((line) => !line.includes('CNI-DN-'))).toEqual([
    ':CNI-HOSTPORT-MASQ - [0:0]',
    '-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT',
  ])
})

test('masqAll marks every source', () => {
  const marks = portmapRules({ ...options, masqAll: true }, []).filter((line) =>
    line.endsWith('-j CNI-HOSTPORT-SETMARK'),
  )
  expect(marks).toEqual([expect.stringContaining('-s 0.0.0.0/0')])
})
