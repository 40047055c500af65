import {
  ContainerFilter,
  ContainerState,
  PodSandboxConfig,
  PodSandboxFilter,
  PodSandboxState,
  Protocol,
} from '@nodelet/cri-api'
import type { DeepPartial } from '@nodelet/cri-api'
import { expect, test } from 'vitest'
import { filterContainers, filterSandboxes, findById } from '../src/container/filter.ts'
import { networkUsageOf, rateOf } from '../src/container/stats.ts'
import { containerStatusOf } from '../src/container/status.ts'
import { networkStatusOf, podNetwork } from '../src/sandbox/network.ts'
import { resolvConfOf } from '../src/sandbox/pod-files.ts'
import { sandboxSysctls } from '../src/sandbox/sysctls.ts'
import { createSharedCalls } from '../src/shared-calls.ts'

const { CONTAINER_RUNNING, CONTAINER_EXITED } = ContainerState
const { SANDBOX_READY, SANDBOX_NOTREADY } = PodSandboxState

const sandboxes = [
  { id: 'aa11', state: SANDBOX_READY, labels: { app: 'web', tier: 'front' } },
  { id: 'aa22', state: SANDBOX_NOTREADY, labels: { app: 'web' } },
  { id: 'bb33', state: SANDBOX_READY, labels: {} },
]

test.each<[DeepPartial<PodSandboxFilter>, string[]]>([
  [{}, ['aa11', 'aa22', 'bb33']],
  [{ id: 'bb' }, ['bb33']],
  [{ id: 'aa' }, []],
  [{ id: 'cc' }, []],
  [{ state: { state: SANDBOX_NOTREADY } }, ['aa22']],
  [{ labelSelector: { app: 'web' } }, ['aa11', 'aa22']],
  [{ labelSelector: { app: 'web', tier: 'front' } }, ['aa11']],
  [{ labelSelector: { app: 'web' }, state: { state: SANDBOX_NOTREADY }, id: 'aa1' }, []],
])('the filter %j finds sandboxes %j', (filter, ids) => {
  const found = filterSandboxes(sandboxes, PodSandboxFilter.fromPartial(filter))
  expect(found.map(({ id }) => id)).toEqual(ids)
})

const containers = [
  { id: 'c1', podSandboxId: 'aa11', state: CONTAINER_RUNNING, labels: { name: 'main' } },
  { id: 'c2', podSandboxId: 'aa22', state: CONTAINER_EXITED, labels: { name: 'main' } },
  { id: 'd3', podSandboxId: 'aa11', state: CONTAINER_EXITED, labels: {} },
]

test.each<[DeepPartial<ContainerFilter>, string[]]>([
  [{ podSandboxId: 'aa1' }, ['c1', 'd3']],
  [{ podSandboxId: 'aa' }, []],
  [{ podSandboxId: 'aa11', state: { state: CONTAINER_EXITED } }, ['d3']],
  [{ labelSelector: { name: 'main' } }, ['c1', 'c2']],
  [{ id: 'd', labelSelector: { name: 'main' } }, []],
])('the filter %j finds containers %j', (filter, ids) => {
  const found = filterContainers(containers, ContainerFilter.fromPartial(filter), sandboxes)
  expect(found.map(({ id }) => id)).toEqual(ids)
})

test('an ID may be cut short while it names one object; an ambiguous one is not "not found"', () => {
  expect(findById('sandbox', sandboxes, 'bb')?.id).toBe('bb33')
  expect(findById('sandbox', sandboxes, '')).toBeUndefined()
  expect(findById('sandbox', sandboxes, 'cc')).toBeUndefined()
  expect(() => findById('sandbox', sandboxes, 'aa')).toThrow(/beginning of 2/)
})

test('sysctls are written where they belong, and none that is of the node', () => {
  const own = { net: '/n', ipc: '/i' }
  const written = (asked: Record<string, string>) =>
    sandboxSysctls(asked, own).map(({ kind, file, value }) => [kind, file, value].join(' '))
  expect(
    written({ 'kernel.sem': '1', 'net/ipv4/conf/eth0.1/forwarding': '1', 'net.ipv4.ping_group_range': '5 6' }),
  ).toEqual([
    'net /proc/sys/net/ipv4/ip_unprivileged_port_start 0',
    'net /proc/sys/net/ipv4/ping_group_range 5 6',
    'ipc /proc/sys/kernel/sem 1',
    'net /proc/sys/net/ipv4/conf/eth0.1/forwarding 1',
  ])
  const sysctls = { 'net.ipv4.conf.eth0/1.forwarding': '1', 'kernel/msgmax': '2' }
  expect(written(sysctls).slice(2)).toEqual([
    'net /proc/sys/net/ipv4/conf/eth0.1/forwarding 1',
    'ipc /proc/sys/kernel/msgmax 2',
  ])
  for (const name of [
    'net.//.kernel.panic',
    'vm.swappiness',
    'kernel.semaphore',
    'net/../kernel/panic',
    'kernel.hostname',
  ]) {
    expect(() => written({ [name]: '1' }), name).toThrow(/is of the whole node/)
  }
  expect(() => sandboxSysctls({ 'fs.mqueue.msg_max': '1' }, { net: '/n' })).toThrow(/the node's IPC namespace/)
  expect(sandboxSysctls({}, {})).toEqual([])
})

test.each([
  [
    { servers: ['1.1.1.1', '::1'], searches: ['a', 'b'], options: ['ndots:5', 'rotate'] },
    'search a b\nnameserver 1.1.1.1\nnameserver ::1\noptions ndots:5 rotate\n',
  ],
  [{ servers: [], searches: [], options: [] }, ''],
])('resolv.conf of %j', (config, text) => expect(resolvConfOf(config)).toBe(text))

test('asks CNI for the ports that have one on the node, and shows IPv4 first', () => {
  const config = PodSandboxConfig.fromPartial({
    metadata: { name: 'p', namespace: 'n', uid: 'u' },
    portMappings: [
      { hostPort: 8080, containerPort: 80, protocol: Protocol.TCP, hostIp: '127.0.0.1' },
      { hostPort: 53, containerPort: 53, protocol: Protocol.UDP },
      { hostPort: 0, containerPort: 9 },
    ],
    annotations: { 'kubernetes.io/ingress-bandwidth': '1.5M', 'kubernetes.io/egress-bandwidth': '2Ki' },
    dnsConfig: { servers: ['10.0.0.53'], searches: ['a.b'], options: ['ndots:5'] },
    linux: { cgroupParent: '/pods/p' },
  })
  const burst = 2 ** 32 - 1
  expect(podNetwork('id', config, '/ns')).toEqual({
    containerId: 'id',
    netns: '/ns',
    ifName: 'eth0',
    pod: { name: 'p', namespace: 'n', uid: 'u' },
    portMappings: [
      { hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '127.0.0.1' },
      { hostPort: 53, containerPort: 53, protocol: 'udp' },
    ],
    capabilityArgs: {
      'io.kubernetes.cri.pod-annotations': config.annotations,
      cgroupPath: '/pods/p',
      bandwidth: { ingressRate: 1_500_000, ingressBurst: burst, egressRate: 2048, egressBurst: burst },
      dns: { servers: ['10.0.0.53'], searches: ['a.b'], options: ['ndots:5'] },
    },
  })
  for (const rate of ['fast', '1', '2P', '-1M', '']) {
    const bad = PodSandboxConfig.fromPartial({ annotations: { 'kubernetes.io/egress-bandwidth': rate } })
    expect(() => podNetwork('id', bad, '/ns')).toThrow(
      `kubernetes.io/egress-bandwidth: "${rate}" is no rate from 1k to 1P`,
    )
  }
  const rest = { cniVersion: '1.0.0', interfaces: [], routes: [], dns: {} }
  expect(networkStatusOf({ ...rest, ips: [{ address: 'fd00::2/64' }, { address: '10.0.0.2/24' }] })).toEqual({
    ip: '10.0.0.2',
    additionalIps: [{ ip: 'fd00::2' }],
  })
  const links = {
    interfaces: [{ name: 'cni0' }, { name: 'net1', sandbox: '/ns' }, { name: 'eth0', sandbox: '/ns' }],
    ips: [
      { address: '10.9.0.2/24', interface: 1 },
      { address: '10.0.0.2/24', interface: 2 },
    ],
  }
  expect(networkStatusOf({ ...rest, ...links })).toEqual({ ip: '10.0.0.2', additionalIps: [] })
  expect(networkStatusOf(undefined)).toEqual({ ip: '', additionalIps: [] })
})

test('a CPU rate needs two readings of one counter', () => {
  const at = (seconds: bigint, usageNs: bigint) => ({
    at: seconds * 1_000_000_000n,
    stats: { cpu: { usageNs, userNs: 0n, systemNs: 0n, periods: 0, throttledPeriods: 0, throttledNs: 0n } },
  })
  expect(rateOf(at(1n, 0n), at(3n, 1_000_000_000n))).toEqual({ rate: 500_000_000n })
  expect(rateOf(undefined, at(3n, 1n))).toEqual({})
  expect(rateOf(at(1n, 9n), at(3n, 1n))).toEqual({})
  expect(rateOf(at(3n, 1n), at(3n, 1n))).toEqual({})
})

test('reads the counters of links', () => {
  const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    1234       5    6    0    0     0          0         0     7890       9    3    0    0     0       0          0
`
  const usage = networkUsageOf(text, 1n)
  const value = (number: number) => ({ value: BigInt(number) })
  const eth0 = { name: 'eth0', rxBytes: value(1234), rxErrors: value(6), txBytes: value(7890), txErrors: value(3) }
  expect(usage).toEqual({ timestamp: 1n, defaultInterface: eth0, interfaces: [eth0] })
})

test('an end is never shown before its start', () => {
  const record = {
    id: 'i',
    sandboxId: 's',
    config: { metadata: { name: 'c' }, labels: {}, annotations: {}, mounts: [] },
    imageName: 'x',
    rootfs: '/r',
    stopSignal: 'SIGRTMIN+3',
    phase: 'exited',
    createdAt: 1000,
    startedAt: 2000.5,
    finishedAt: 1999.25,
    exitCode: 0,
    reason: 'Completed',
  } as unknown as Parameters<typeof containerStatusOf>[0]
  expect(containerStatusOf(record, 'tag:1')).toMatchObject({
    createdAt: 1_000_000_000n,
    startedAt: 2_000_500_000n,
    finishedAt: 2_000_500_000n,
    image: { image: 'tag:1' },
  })
  const { startedAt: _, ...failed } = record
  expect(containerStatusOf(failed)).toMatchObject({ startedAt: 0n, finishedAt: 1_999_250_000n })
  expect(containerStatusOf({ ...record, phase: 'running' })).toMatchObject({ finishedAt: 0n })
})

test('a call that is asked again shares its work; what its client did not fetch waits for it', async () => {
  const there = new Set<string>()
  const calls = createSharedCalls<string>((id) => there.has(id))
  let made = 0
  const work = async () => {
    await new Promise(setImmediate)
    const id = String(++made)
    there.add(id)
    return id
  }
  const [first, second] = [calls.call({ key: 'a', content: 'x' }, work), calls.call({ key: 'a', content: 'x' }, work)]
  await expect(calls.call({ key: 'a', content: 'y' }, work)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
  expect([await first, await second]).toEqual(['1', '1'])
  const [one, same] = [{ labels: { a: '1', b: '2' } }, { labels: { b: '2', a: '1' } }]
  const shuffled = [calls.call({ key: 'c', content: one }, work), calls.call({ key: 'c', content: same }, work)]
  expect(new Set(await Promise.all(shuffled)).size).toBe(1)
  made = 1
  const gone = AbortSignal.abort()
  expect(await calls.call({ key: 'a', content: 'x', signal: gone }, work)).toBe('2')
  expect(await calls.call({ key: 'a', content: 'x' }, work)).toBe('2')
  expect(await calls.call({ key: 'a', content: 'x', signal: gone }, work)).toBe('3')
  there.delete('3')
  expect(await calls.call({ key: 'a', content: 'x' }, work)).toBe('4')
  const failing = calls.call({ key: 'b', content: 'x' }, async () => Promise.reject(new Error('no')))
  await expect(failing).rejects.toThrow('no')
  expect(await calls.call({ key: 'b', content: 'x' }, work)).toBe('5')
})
