// Which pods a node takes, and with which words it refuses others.
import type { Node, Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, it, test } from 'vitest'
import { type AdmissionFacts, earlyObstacle, obstacleTo } from '../../src/admission/checks.ts'
import { sysctlRules } from '../../src/admission/sysctls.ts'

const asks = (cpu: string, more: object = {}, spec: object = {}): Pod => ({
  spec: { containers: [{ name: 'main', image: 'i', resources: { requests: { cpu } }, ...more }], ...spec },
})
const uses = (hostPort: number, hostIP = '', protocol = 'TCP'): Pod =>
  asks('0', { ports: [{ containerPort: 80, hostPort, hostIP, protocol }] })
const spec = (more: object): Pod => asks('0', {}, more)
const wants = (name: string, amount: string): Pod => asks('0', { resources: { requests: { [name]: amount } } })
const staticPod = (pod: Pod): Pod => ({ ...pod, metadata: { annotations: { 'kubernetes.io/config.source': 'file' } } })

const node: Node = {
  metadata: { name: 'node-1', labels: { 'kubernetes.io/os': 'linux', disk: 'ssd', cores: '8' } },
  spec: {
    taints: [
      { key: 'soft', effect: 'PreferNoSchedule' },
      { key: 'dedicated', value: 'db', effect: 'NoSchedule' },
    ],
  },
}
const facts: AdmissionFacts = {
  active: [],
  node,
  allocatable: { cpu: '1200m', memory: '1Gi', pods: '3', 'example.com/gpu': '2', 'hugepages-2Mi': '4Mi' },
  pressure: [],
  sysctls: sysctlRules([], '6.1.0'),
  hasGroupsPolicy: false,
  hasAppArmor: false,
  declaredFeatures: [],
  shuttingDown: false,
}
const refusal = (pod: Pod, more: Partial<AdmissionFacts> = {}) => obstacleTo(pod, { ...facts, ...more })?.rejection
const ports = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
const affinity = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
const short = (what: string): string => `Node didn't have enough resource: ${what}`
const matching = (...matchExpressions: object[]): Pod =>
  spec({
    affinity: {
      nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions }] } },
    },
  })

test.each<[string, Pod, Pod[], string?, string?]>([
  ['fits', asks('700m'), [asks('500m')]],
  ['too much cpu', asks('1'), [asks('500m')], 'OutOfcpu', short('cpu, requested: 1000, used: 500, capacity: 1200')],
  ['nothing asked', asks('0'), [asks('2')]],
  [
    'too many pods',
    asks('0'),
    [asks('0'), asks('0'), asks('0')],
    'OutOfpods',
    short('pods, requested: 1, used: 3, capacity: 3'),
  ],
  [
    'too much memory',
    wants('memory', '2Gi'),
    [],
    'OutOfmemory',
    short('memory, requested: 2147483648, used: 0, capacity: 1073741824'),
  ],
  [
    'too many devices',
    wants('example.com/gpu', '2'),
    [wants('example.com/gpu', '1')],
    'OutOfexample.com/gpu',
    short('example.com/gpu, requested: 2, used: 1, capacity: 2'),
  ],
  ['devices that the node does not count', wants('example.com/tpu', '9'), []],
  [
    'too many huge pages',
    wants('hugepages-2Mi', '6Mi'),
    [],
    'OutOfhugepages-2Mi',
    short('hugepages-2Mi, requested: 6291456, used: 0, capacity: 4194304'),
  ],
  ['port taken', uses(80), [uses(80)], 'NodePorts', ports],
  ['port of another address', uses(80, '192.0.2.1'), [uses(80, '192.0.2.2')]],
  ['port of all addresses', uses(80, '192.0.2.1'), [uses(80)], 'NodePorts', ports],
  ['port of another protocol', uses(80), [uses(80, '', 'UDP')]],
  ['node selector', spec({ nodeSelector: { disk: 'ssd' } }), []],
  ['another node selector', spec({ nodeSelector: { disk: 'hdd' } }), [], 'NodeAffinity', affinity],
  ['affinity', matching({ key: 'cores', operator: 'Gt', values: ['4'] }), []],
  ['another affinity', matching({ key: 'disk', operator: 'DoesNotExist' }), [], 'NodeAffinity', affinity],
  ['an empty term', matching(), [], 'NodeAffinity', affinity],
  [
    'another node',
    spec({ nodeName: 'node-2' }),
    [],
    'NodeName',
    "Predicate NodeName failed: node(s) didn't match the requested node name",
  ],
  [
    'another system by label',
    spec({ nodeSelector: { 'kubernetes.io/os': 'windows' } }),
    [],
    'PodOSSelectorNodeLabelDoesNotMatch',
    "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
  ],
  [
    'another system',
    spec({ os: { name: 'windows' } }),
    [],
    'PodOSNotSupported',
    "Failed to admit pod as the OS field doesn't match node OS",
  ],
  [
    'groups policy',
    spec({ securityContext: { supplementalGroupsPolicy: 'Strict' } }),
    [],
    'SupplementalGroupsPolicyNotSupported',
    'SupplementalGroupsPolicy=Strict is not supported in this node',
  ],
  [
    'AppArmor',
    spec({ securityContext: { appArmorProfile: { type: 'RuntimeDefault' } } }),
    [],
    'AppArmor',
    'Cannot enforce AppArmor: AppArmor is not enabled on the host',
  ],
  ['no AppArmor', spec({ securityContext: { appArmorProfile: { type: 'Unconfined' } } }), []],
])('%s', (_title, pod, active, reason, message) => {
  expect(refusal(pod, { active })).toEqual(reason === undefined ? undefined : { reason, message })
})

it('bears taints by tolerations; only NoExecute counts, and not for static pods', () => {
  const tainted: Node = { ...node, spec: { taints: [{ key: 'down', effect: 'NoExecute' }] } }
  const message = 'Predicate TaintToleration failed: node(s) had untolerated taint(s)'
  expect(refusal(asks('0'))).toBeUndefined()
  expect(refusal(asks('0'), { node: tainted })).toEqual({ reason: 'TaintToleration', message })
  expect(refusal(staticPod(asks('0')), { node: tainted })).toBeUndefined()
  expect(refusal(spec({ tolerations: [{ key: 'down', operator: 'Exists' }] }), { node: tainted })).toBeUndefined()
})

it('takes nothing while it shuts down', () => {
  expect(refusal(asks('0'), { shuttingDown: true })).toEqual({
    reason: 'NodeShutdown',
    message: 'Pod was rejected as the node is shutting down.',
  })
})

it('says what is short only when nothing else is wrong: then others may make room', () => {
  const elsewhere = { ...asks('9'), spec: { ...asks('9').spec, nodeName: 'node-2' } } as Pod
  expect(obstacleTo(asks('9'), facts)?.shortages).toMatchObject([{ name: 'cpu', missing: 7800n }])
  expect(obstacleTo(elsewhere, facts)).toEqual({
    rejection: expect.objectContaining({ reason: 'OutOfcpu' }) as unknown,
  })
})

const guaranteed = asks('0', { resources: { limits: { cpu: '1', memory: '1Gi' } } })
const bearing = spec({ tolerations: [{ key: 'node.kubernetes.io/memory-pressure', operator: 'Exists' }] })
test.each<[AdmissionFacts['pressure'], Pod, string?]>([
  [[], asks('0')],
  [['MemoryPressure'], asks('0'), 'The node had condition: [MemoryPressure]. '],
  [['MemoryPressure'], asks('1')],
  [['MemoryPressure'], guaranteed],
  [['MemoryPressure'], bearing],
  [['DiskPressure'], guaranteed, 'The node had condition: [DiskPressure]. '],
  [['MemoryPressure', 'DiskPressure'], guaranteed, 'The node had condition: [DiskPressure MemoryPressure]. '],
  [['DiskPressure'], staticPod(asks('0'))],
  [['PIDPressure'], spec({ priority: 2_000_000_000 })],
  [['PIDPressure'], spec({ priority: 1_999_999_999 }), 'The node had condition: [PIDPressure]. '],
])('under %j', (pressure, pod, message) => {
  expect(earlyObstacle(pod, { ...facts, pressure })).toEqual(message && { reason: 'Evicted', message })
})

const sets = (name: string, more: object = {}): Pod =>
  spec({ securityContext: { sysctls: [{ name, value: '1' }] }, ...more })
test.each<[string[], string, Pod, string?]>([
  [[], '6.1.0', sets('net.ipv4.tcp_syncookies')],
  [[], '6.1.0', sets('net/ipv4/tcp_syncookies')],
  [[], '4.14.9', sets('net.ipv4.tcp_rmem'), 'forbidden sysctl: "net.ipv4.tcp_rmem" not allowlisted'],
  [[], '4.15.0', sets('net.ipv4.tcp_rmem')],
  [[], '6.1.0', sets('kernel.panic'), 'forbidden sysctl: "kernel.panic" not allowlisted'],
  [['kernel.msg*'], '6.1.0', sets('kernel.msgmax')],
  [['net.core.somaxconn'], '6.1.0', sets('net.core.somaxconn')],
  [['net.core.*'], '6.1.0', sets('net.core.somaxconn')],
  [
    ['kernel.sem'],
    '6.1.0',
    sets('kernel.sem', { hostIPC: true }),
    'forbidden sysctl: "kernel.sem" not allowed with host ipc enabled',
  ],
  [
    [],
    '6.1.0',
    sets('net.ipv4.tcp_syncookies', { hostNetwork: true }),
    'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled',
  ],
])('sysctls: %j allowed on %s', (unsafe, release, pod, message) => {
  expect(sysctlRules(unsafe, release).problemOf(pod)).toBe(message)
})

test.each(['kernel.panic', 'vm.*', '*', 'NET.x'])('allowedUnsafeSysctls %s is refused', (entry) => {
  expect(() => sysctlRules([entry], '6.1.0')).toThrow(/^allowedUnsafeSysctls "/)
})

test.each<[string, object, string[] | undefined, boolean]>([
  ['nothing is needed', {}, [], true],
  ['what is needed is there', { action: 'RestartAllContainers' }, ['RestartAllContainersOnContainerExits'], true],
  ['what is needed is not there', { action: 'RestartAllContainers' }, ['GuaranteedQoSPodCPUResize'], false],
  ['another rule needs nothing', { action: 'Restart' }, [], true],
  ['the node does not tell', { action: 'RestartAllContainers' }, undefined, true],
])('features: %s', (_title, rule, declaredFeatures, fine) => {
  const rules = { restartPolicyRules: [{ ...rule, exitCodes: { operator: 'In', values: [3] } }] }
  for (const pod of [asks('0', rules), spec({ initContainers: [{ name: 'init', ...rules }] })]) {
    const message = 'Pod requires node features that are not available: RestartAllContainersOnContainerExits'
    const refused = refusal(pod, { declaredFeatures, shuttingDown: true })
    expect(refused?.reason).toBe(fine ? 'NodeShutdown' : 'PodFeatureUnsupported')
    if (!fine) expect(refused?.message).toBe(message)
  }
})
