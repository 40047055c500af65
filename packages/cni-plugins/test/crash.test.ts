import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { defaultNetwork } from '../src/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'

const list = defaultNetwork({ name: 'test', bridge: 'br0', subnets: ['10.77.0.0/24', 'fd77::/112'] }) as {
  plugins: object[]
}
const [bridge = {}, portmap = {}] = list.plugins
let machine: TestMachine

beforeEach(() => {
  machine = makeMachine(list)
})
afterEach(() => machine[Symbol.dispose]())

const script = (path: string, body: string): void => writeFileSync(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 })

/** Runs an ADD in a process of its own, where the programs of `shims` come before those of the machine. */
function addInProcess(netns: string): NodeJS.Signals | null {
  const program = join(import.meta.dirname, 'add.ts')
  const { signal } = spawnSync(
    process.execPath,
    ['--conditions=@nodelet/source', program, machine.folder, machine.host, netns],
    { env: { ...process.env, PATH: `${join(machine.folder, 'shims')}:${process.env.PATH}` } },
  )
  return signal
}

function left(): string[] {
  const rules = ['iptables-save', 'ip6tables-save'].flatMap((program) =>
    machine.run(machine.host, program, '-t', 'nat').split('\n'),
  )
  const links = machine.run(machine.host, 'ip', '-o', 'link').split('\n')
  const networks = readdirSync(machine.folder).includes('cache') ? readdirSync(join(machine.folder, 'cache')) : []
  const addresses = networks.includes('networks') ? readdirSync(join(machine.folder, 'cache/networks/test')) : []
  return [
    ...rules.filter((line) => /id: |CNI-DN|:CNI-[0-9a-f]{24}/.test(line)),
    ...links.filter((line) => line.includes('veth')),
    ...addresses.filter((name) => !/^(last_|lock$)/.test(name)),
    ...readdirSync(join(machine.folder, 'cache/attachments')),
  ]
}

const killer = { type: 'killer' }
const restore = '/usr/sbin/iptables-restore'

test.each([
  ['before the first plugin', [killer, bridge, portmap], ''],
  ['before its first rules', [bridge, portmap], 'kill -9 $PPID; exit 1'],
  ['after its first rules', [bridge, portmap], `${restore} "$@"; kill -9 $PPID`],
  ['before its host ports', [bridge, killer, portmap], ''],
  ['before its result is kept', [bridge, portmap, killer], ''],
])('what an ADD that was killed %s owes is paid', async (_, plugins, shim) => {
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify({ ...list, plugins }))
  script(join(machine.folder, 'bin/killer'), 'cat >/dev/null\n[ $CNI_COMMAND = ADD ] && kill -9 $PPID\nexit 0')
  mkdirSync(join(machine.folder, 'shims'))
  if (shim) script(join(machine.folder, 'shims/iptables-restore'), shim)
  const netns = machine.pod('one')
  expect(addInProcess(netns)).toBe('SIGKILL')
  expect(left()).toContain('one-eth0.json')

  const next = machine.open()
  await next.gc([{ containerId: 'one', ifName: 'eth0' }])
  expect(left()).not.toEqual([])
  await next.gc([])
  await expect.poll(left).toEqual([])
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
  const result = await next.add({ containerId: 'one', netns, ifName: 'eth0' })
  expect(result.ips).toHaveLength(2)
})

test('a second ADD is refused and leaves the first as it is', async () => {
  const pod = { containerId: 'one', netns: machine.pod('one'), ifName: 'eth0' }
  await machine.cni.add(pod)
  const before = left()
  await expect(machine.cni.add(pod)).rejects.toThrow('container "one" has eth0 already: delete it first')
  expect(left()).toEqual(before)
})

test.each([
  ['gone', (path: string) => machine.run(machine.host, 'rm', path)],
  [
    'gone, and the result, too',
    (path: string) => machine.run(machine.host, 'rm', '-r', path, join(path, '../../results')),
  ],
  ['cut off', (path: string) => writeFileSync(path, '{"network":')],
])('DEL cleans when its record is %s', async (_, spoil) => {
  const pod = { containerId: 'one', netns: machine.pod('one'), ifName: 'eth0' }
  await machine.cni.add({ ...pod, portMappings: [{ hostPort: 8081, containerPort: 80, protocol: 'tcp' }] })
  spoil(join(machine.folder, 'cache/attachments/one-eth0.json'))
  await machine.open().del(pod)
  expect(left()).toEqual([])
})
