// What is left of a network is taken away, and nothing else.
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { removeNetwork } from '../src/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'

let machine: TestMachine
const usualPath = process.env['PATH']

beforeEach(() => {
  machine = makeMachine({})
})
afterEach(() => {
  process.env['PATH'] = usualPath
  machine[Symbol.dispose]()
})

const onHost = (...command: string[]): string => machine.run(machine.host, ...command)
const remove = async (): Promise<void> => removeNetwork({ bridge: 'br0', hostNetns: machine.host })
const tables = (): string => onHost('iptables-save') + onHost('ip6tables-save') + onHost('nft', 'list', 'ruleset')

/** A pod with all that plugins make for it. */
async function addPod(name: string, backend: 'iptables' | 'nftables', subnets: string[]): Promise<void> {
  const ranges = subnets.map((subnet) => [{ subnet }])
  const ipam = { type: 'host-local', ranges }
  const plugins = [
    { type: 'bridge', bridge: 'br0', ipMasq: true, ipMasqBackend: backend, macspoofchk: true, ipam },
    { type: 'portmap', backend, capabilities: { portMappings: true } },
    { type: 'firewall', backend: 'iptables', ingressPolicy: 'isolated' },
  ]
  const confDir = join(machine.folder, `${name}.d`)
  mkdirSync(confDir)
  writeFileSync(join(confDir, '10.conflist'), JSON.stringify({ cniVersion: '1.1.0', name: `net-${name}`, plugins }))
  const portMappings = [{ hostPort: 8081, containerPort: 80, protocol: 'tcp' as const }]
  const pod = { containerId: name, netns: machine.pod(name), ifName: 'eth0', portMappings }
  await machine.open({ confDir }).add(pod)
}

test('what plugins made goes; what others made stays', async () => {
  onHost('iptables', '-A', 'FORWARD', '-s', '10.1.2.3', '-j', 'ACCEPT')
  await addPod('one', 'iptables', ['10.77.1.0/24', 'fd77:1::/64'])
  await addPod('two', 'nftables', ['10.77.2.0/24', 'fd77:2::/64'])
  onHost('ip6tables', '-I', 'CNI-ADMIN', '-s', 'fd01::1', '-j', 'DROP')
  onHost('nft', 'add', 'rule', 'bridge', 'nat', 'PREROUTING', 'ether', 'type', '0x88b5', 'drop')
  for (const made of ['CNI-DN-', 'CNI-ISOLATION-STAGE-2', 'CNI-FORWARD-OWNERS', 'cni_hostport', 'cni-br-iface-two'])
    expect(tables()).toContain(made)

  await remove()
  const left = tables()
  expect(left.match(/cni[-_]?\S*/gi)?.filter((name) => name !== 'CNI-ADMIN')).toEqual([])
  expect(left).toContain('-A FORWARD -s 10.1.2.3/32 -j ACCEPT')
  expect(left).toContain('-A CNI-ADMIN -s fd01::1/128 -j DROP')
  expect(onHost('iptables-save')).not.toContain('CNI-ADMIN')
  expect(onHost('nft', 'list', 'table', 'bridge', 'nat')).toContain('ether type 0x88b5 drop')
  expect(onHost('ip', '-o', 'link')).not.toContain('br0')

  onHost('nft', 'flush', 'chain', 'bridge', 'nat', 'PREROUTING')
  await remove()
  expect(onHost('nft', 'list', 'tables')).not.toContain('bridge nat')
})

test('of tables that are not there no program is asked', async () => {
  const [programs, log] = [join(machine.folder, 'programs'), join(machine.folder, 'log')]
  mkdirSync(programs)
  for (const name of ['iptables-save', 'iptables-restore', 'ip6tables-save', 'ip6tables-restore', 'nft']) {
    writeFileSync(
      join(programs, name),
      `#!/bin/sh\necho "$(basename "$0") $*" >>${log}\nexec /usr/sbin/$(basename "$0") "$@"\n`,
    )
    chmodSync(join(programs, name), 0o755)
  }
  process.env['PATH'] = `${programs}:${usualPath}`
  await remove()
  expect(existsSync(log)).toBe(false)
  onHost('ip6tables', '-N', 'CNI-FORWARD')
  await remove()
  expect(readFileSync(log, 'utf8')).toBe('ip6tables-save -t filter\nip6tables-restore --noflush -w 5\n')
  expect(onHost('ip6tables-save')).not.toContain('CNI-FORWARD')
})

test('a machine without programs for rules has none to remove', async () => {
  onHost('nft', 'add', 'table', 'ip', 'nat')
  process.env['PATH'] = machine.folder
  await remove()
})
