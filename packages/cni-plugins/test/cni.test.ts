import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { unpinNamespace } from '@nodelet/linux'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { defaultNetwork, removeNetwork } from '../src/index.ts'
import type { PodNetwork } from '../src/index.ts'
import { makeMachine } from './machine.ts'
import type { TestMachine } from './machine.ts'
import { makeTraffic } from './traffic.ts'
import type { Traffic } from './traffic.ts'

let machine: TestMachine
let traffic: Traffic

beforeEach(() => {
  machine = makeMachine(defaultNetwork({ name: 'test', bridge: 'br0', subnets: ['10.77.0.0/24', 'fd77::/112'] }))
  traffic = makeTraffic(machine)
})
afterEach(async () => {
  await traffic[Symbol.asyncDispose]()
  machine[Symbol.dispose]()
})

const podNetwork = (name: string, more: Partial<PodNetwork> = {}): PodNetwork => ({
  containerId: name,
  netns: machine.pod(name),
  ifName: 'eth0',
  pod: { namespace: 'default', name, uid: `uid-${name}` },
  ...more,
})

/** Rules of pods, without those of the tables themselves. */
const rules = (): string[] =>
  ['iptables-save', 'ip6tables-save'].flatMap((program) =>
    machine
      .run(machine.host, program, '-t', 'nat')
      .split('\n')
      .filter((line) => /^(-A|:CNI)/.test(line)),
  )

test('pods reach each other, the gateway and host ports; afterwards nothing is left', async () => {
  await machine.cni.status()
  const [one, two] = [
    podNetwork('one'),
    podNetwork('two', { portMappings: [{ hostPort: 8081, containerPort: 80, protocol: 'tcp' }] }),
  ]
  const [first, second] = await Promise.all([machine.cni.add(one), machine.cni.add(two)])
  expect(first.interfaces.map(({ name, sandbox }) => [name, sandbox])).toEqual([
    ['br0', undefined],
    [expect.stringMatching(/^veth[0-9a-f]{8}$/), undefined],
    ['eth0', one.netns],
  ])
  expect(new Set([first, second].map(({ ips }) => ips[0]?.address))).toEqual(new Set(['10.77.0.2/24', '10.77.0.3/24']))
  expect(first.ips[0]).toMatchObject({ gateway: '10.77.0.1', interface: 2 })
  const secondIp = second.ips[0]?.address.split('/')[0] ?? ''
  const { ask } = traffic
  await traffic.serve(two.netns, 80, 'two')
  expect(await ask(one.netns, secondIp, 80)).toMatch(/^two /)
  expect(await ask(one.netns, second.ips[1]?.address.split('/')[0] ?? '', 80)).toMatch(/^two /)
  expect(await ask(machine.host, secondIp, 80)).toMatch(/^two /)
  expect(await ask(machine.host, '127.0.0.1', 8081)).toMatch(/^two /)
  expect(await ask(one.netns, '10.77.0.1', 8081)).toMatch(/^two /)
  expect(await ask(two.netns, '10.77.0.1', 8081)).toMatch(/^two /) // hairpin
  expect(
    rules().filter((line) => line.includes('MASQUERADE') && line.includes('name: \\"test\\" id: \\"one\\"')),
  ).toHaveLength(2)

  await machine.cni.del(one)
  await machine.cni.del(one)
  await machine.cni.del(two)
  expect(rules().filter((line) => /id: /.test(line) || line.includes('CNI-DN'))).toEqual([])
  expect(machine.run(machine.host, 'ip', '-o', 'link')).not.toContain('veth')
  expect(
    readdirSync(join(machine.folder, 'cache/networks/test')).filter((name) => !/^(last_|lock$)/.test(name)),
  ).toEqual([])
  await removeNetwork({ bridge: 'br0', hostNetns: machine.host })
  expect(rules()).toEqual([])
  expect(machine.run(machine.host, 'ip', '-o', 'link')).not.toContain('br0')
})

test.each<[what: string, spoil: (netns: string) => string[], message: string]>([
  [
    'a lost address',
    (netns) => [netns, 'ip', 'addr', 'del', '10.77.0.2/24', 'dev', 'eth0'],
    'eth0 has no address 10.77.0.2/24',
  ],
  ['a lost route', (netns) => [netns, 'ip', 'route', 'del', 'default'], 'no route to 0.0.0.0/0 via 10.77.0.1'],
  ['another MAC', (netns) => [netns, 'ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:00:09'], 'not '],
  ['a lost port of the bridge', () => [machine.host, 'ip', 'link', 'del', 'br0'], 'br0 is not there'],
  [
    'lost rules',
    () => [machine.host, 'iptables', '-t', 'nat', '-F', 'CNI-HOSTPORT-DNAT'],
    'rules are missing in table nat',
  ],
  [
    'lost addresses',
    () => ['/proc/self/ns/net', 'rm', '-r', join(machine.folder, 'cache/networks')],
    'Failed to find address',
  ],
])('CHECK tells of %s', async (_, spoil, message) => {
  const one = podNetwork('one', { portMappings: [{ hostPort: 8081, containerPort: 80, protocol: 'tcp' }] })
  await machine.cni.add(one)
  await machine.cni.check(one)
  const [netns = '', ...command] = spoil(one.netns)
  machine.run(netns, ...command)
  await expect(machine.cni.check(one)).rejects.toThrow(message)
})

test('address files and results are where the reference keeps them', async () => {
  const one = podNetwork('one')
  await machine.cni.add(one)
  const networks = join(machine.folder, 'cache/networks/test')
  expect(readFileSync(join(networks, '10.77.0.2'), 'utf8')).toBe('one\r\neth0')
  expect(readFileSync(join(networks, 'last_reserved_ip.0'), 'utf8')).toBe('10.77.0.2')
  const cached = JSON.parse(readFileSync(join(machine.folder, 'cache/results/test-one-eth0'), 'utf8')) as object
  expect(cached).toMatchObject({ kind: 'cniCacheV1', containerId: 'one', networkName: 'test' })
  await machine.cni.del(one)
  await machine.cni.add(podNetwork('two'))
  expect(existsSync(join(networks, '10.77.0.3'))).toBe(true) // round robin
})

test('DEL works without the namespace and from what a former life left', async () => {
  const one = podNetwork('one', { portMappings: [{ hostPort: 8081, containerPort: 80, protocol: 'udp' }] })
  const two = podNetwork('two')
  await machine.cni.add(one)
  await machine.cni.add(two)
  unpinNamespace(one.netns)
  const next = machine.open()
  await next.gc([two])
  expect(rules().filter((line) => line.includes('id: \\"one\\"'))).toEqual([])
  expect(rules().filter((line) => line.includes('id: \\"two\\"'))).not.toEqual([])
  expect(readdirSync(join(machine.folder, 'cache/attachments'))).toEqual(['two-eth0.json'])
})

test('an ADD that fails half-way is undone, and its error names the plugin', async () => {
  const list = defaultNetwork({ name: 'test', bridge: 'br0', subnets: ['10.77.0.0/24'] }) as { plugins: object[] }
  list.plugins.push({ type: 'broken' })
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
  await expect(machine.cni.status()).rejects.toThrow(/failed to find plugin "broken" in path \[/)
  writeFileSync(
    join(machine.folder, 'bin/broken'),
    '#!/bin/sh\n[ "$CNI_COMMAND" = DEL ] && exit 0\necho \'{"code": 107, "msg": "no"}\'\nexit 1\n',
  )
  chmodSync(join(machine.folder, 'bin/broken'), 0o755)
  const one = podNetwork('one')
  await expect(machine.cni.add(one)).rejects.toMatchObject({
    code: 107,
    message: 'plugin type="broken" failed (add): plugin "broken": no',
  })
  expect(machine.run(machine.host, 'ip', '-o', 'link')).not.toContain('veth')
  expect(rules().filter((line) => /id: /.test(line))).toEqual([])
  expect(
    readdirSync(join(machine.folder, 'cache/networks/test')).filter((name) => !/^(last_|lock$)/.test(name)),
  ).toEqual([])
  expect(readdirSync(join(machine.folder, 'cache/attachments'))).toEqual([])
})

test('programs in the chain get what the protocol says and may change the result', async () => {
  const list = defaultNetwork({ name: 'test', bridge: 'br0', subnets: ['10.77.0.0/24'] }) as { plugins: object[] }
  list.plugins.push({ type: 'tracer', mark: 7 })
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
  const seen = join(machine.folder, 'seen')
  const script = `#!/bin/sh
env | grep ^CNI_ | sort > ${seen}.$CNI_COMMAND
cat > ${seen}.$CNI_COMMAND.json
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.1.1/32"}]}'
exit 0
`
  writeFileSync(join(machine.folder, 'bin/tracer'), script, { mode: 0o755 })
  const one = podNetwork('one')
  const result = await machine.cni.add(one)
  expect(result.ips).toEqual([{ address: '10.1.1.1/32' }])
  expect(readFileSync(`${seen}.ADD`, 'utf8').split('\n')).toEqual(
    expect.arrayContaining([
      'CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=one;K8S_POD_INFRA_CONTAINER_ID=one;K8S_POD_UID=uid-one',
      'CNI_CONTAINERID=one',
      'CNI_IFNAME=eth0',
      `CNI_NETNS=${one.netns}`,
    ]),
  )
  expect(JSON.parse(readFileSync(`${seen}.ADD.json`, 'utf8'))).toMatchObject({
    name: 'test',
    cniVersion: '1.0.0',
    type: 'tracer',
    mark: 7,
    prevResult: { ips: [{ address: '10.77.0.2/24' }] },
  })
  await machine.cni.del(one)
  expect(JSON.parse(readFileSync(`${seen}.DEL.json`, 'utf8'))).toMatchObject({
    prevResult: { ips: [{ address: '10.1.1.1/32' }] },
  })
})

test('addresses come from a program, which is asked again at DEL', async () => {
  const plugins = [{ type: 'bridge', bridge: 'br0', isGateway: true, ipam: { type: 'fixed' } }]
  const path = join(machine.folder, 'net.d/10-test.conflist')
  writeFileSync(path, JSON.stringify({ cniVersion: '1.1.0', name: 'test', plugins }))
  await expect(machine.cni.status()).rejects.toThrow('failed to find plugin "fixed"')
  const script = `#!/bin/sh
cat >/dev/null
case $CNI_COMMAND in
STATUS) [ -e ${machine.folder}/ready ] || { echo '{"code":50,"msg":"pool not ready"}'; exit 1; } ;;
ADD) echo '{"cniVersion":"1.1.0","ips":[{"address":"10.78.0.5/24"}]}' ;;
DEL) touch ${machine.folder}/released ;;
esac
`
  writeFileSync(join(machine.folder, 'bin/fixed'), script, { mode: 0o755 })
  await expect(machine.cni.status()).rejects.toMatchObject({ code: 50 })
  writeFileSync(join(machine.folder, 'ready'), '')
  await machine.cni.status()
  const one = podNetwork('one')
  expect((await machine.cni.add(one)).ips).toEqual([{ address: '10.78.0.5/24', gateway: '10.78.0.1', interface: 2 }])
  expect(machine.run(one.netns, 'ip', '-o', 'addr')).toContain('10.78.0.5/24')
  await machine.cni.del(one)
  expect(existsSync(join(machine.folder, 'released'))).toBe(true)
})

test('UDP flows to a host port that went elsewhere are forgotten', async () => {
  const flow = ['-p', 'udp', '-s', '10.9.9.9', '-d', '10.9.9.1', '--sport', '1000', '--dport']
  const reply = ['-r', '10.9.9.2', '-q', '10.9.9.9', '--reply-port-dst', '1000', '--reply-port-src']
  for (const port of ['8081', '8082'])
    machine.run(machine.host, 'conntrack', '-I', ...flow, port, ...reply, port, '-t', '100', '-u', 'ASSURED')
  await machine.cni.add(podNetwork('one', { portMappings: [{ hostPort: 8081, containerPort: 80, protocol: 'udp' }] }))
  const flows = machine.run(machine.host, 'conntrack', '-L', '-p', 'udp')
  expect(flows).not.toContain('dport=8081')
  expect(flows).toContain('dport=8082')
})

test('a program that hangs is killed and named', async () => {
  const list = { cniVersion: '1.0.0', name: 'test', plugins: [{ type: 'slow' }] }
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
  const script = `#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
ADD) exec sleep 60 ;;
esac
`
  writeFileSync(join(machine.folder, 'bin/slow'), script, { mode: 0o755 })
  await expect(machine.cni.add(podNetwork('one'), AbortSignal.timeout(300))).rejects.toThrow(
    'plugin "slow" gave no answer to ADD in time and was killed',
  )
})

test.each([
  ['prints garbage', 'echo nonsense', /plugin "bad" succeeded but its result "nonsense\\n" is not JSON/],
  ['dies', 'kill -9 $$', /plugin "bad": netplugin failed with no error message: signal: SIGKILL/],
  ['complains on stderr', 'echo oops >&2; exit 3', /plugin "bad": netplugin failed: "oops": exit status 3/],
])('a program that %s is told apart', async (_, body, message) => {
  writeFileSync(
    join(machine.folder, 'net.d/10-test.conflist'),
    JSON.stringify({ cniVersion: '1.0.0', name: 'test', plugins: [{ type: 'bad' }] }),
  )
  writeFileSync(
    join(machine.folder, 'bin/bad'),
    `#!/bin/sh\ncat >/dev/null\n[ "$CNI_COMMAND" = DEL ] && exit 0\n${body}\n`,
    { mode: 0o755 },
  )
  await expect(machine.cni.add(podNetwork('one'))).rejects.toThrow(message)
})

test.each([
  ['{"name":"x"', /10-test\.conflist: .*JSON/],
  ['{"name":"-x","cniVersion":"1.0.0","plugins":[{"type":"bridge"}]}', 'name: must be letters'],
  ['{"name":"x","cniVersion":"9.0.0","plugins":[{"type":"bridge"}]}', 'cniVersion "9.0.0"'],
  ['{"name":"x","cniVersion":"1.0.0","plugins":[]}', 'plugins'],
  ['{"name":"x","cniVersion":"1.0.0"}', 'neither plugins nor a type'],
])('a network list is checked: %s', async (content, message) => {
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), content)
  await expect(machine.cni.status()).rejects.toThrow(message)
  await expect(machine.cni.config()).rejects.toThrow(message)
})

test('what the networks are made from is shown as other runtimes show it', async () => {
  const plugin = { type: 'bridge', bridge: 'cni9' }
  const list = { cniVersion: '1.0.0', name: 'x', plugins: [plugin] }
  writeFileSync(join(machine.folder, 'net.d/10-test.conflist'), JSON.stringify(list))
  const { Networks, ...rest } = await machine.cni.config()
  expect(rest).toMatchObject({ PluginConfDir: join(machine.folder, 'net.d'), PluginMaxConfNum: 1, Prefix: 'eth' })
  expect(Networks).toMatchObject([
    { IFName: 'lo', Config: { Name: 'cni-loopback', Plugins: [{ Network: { type: 'loopback' } }] } },
    {
      IFName: 'eth0',
      Config: {
        Name: 'x',
        CNIVersion: '1.0.0',
        Plugins: [{ Network: plugin, Source: JSON.stringify(plugin) }],
        Source: JSON.stringify(list),
      },
    },
  ])
  unlink(join(machine.folder, 'net.d/10-test.conflist'))
  expect((await machine.cni.config()).Networks.map(({ IFName }) => IFName)).toEqual(['lo'])
})

test('without a network list the status says so; bad values are refused by name', async () => {
  const path = join(machine.folder, 'net.d/10-test.conflist')
  writeFileSync(path, JSON.stringify({ cniVersion: '1.0.0', name: 'x', plugins: [{ type: 'bridge', vlan: 4095 }] }))
  await expect(machine.cni.add(podNetwork('one'))).rejects.toThrow('bridge: vlan: ')
  unlink(path)
  await expect(machine.cni.status()).rejects.toThrow(`no networks found in ${machine.folder}/net.d`)
})

function unlink(path: string): void {
  machine.run(machine.host, 'rm', path)
}
