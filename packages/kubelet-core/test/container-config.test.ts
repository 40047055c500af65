import { ImageSpec } from '@nodelet/cri-api'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { describe, expect, it } from 'vitest'
import { containerConfig } from '../src/pod/container-config.ts'
import { containerEnvironment } from '../src/pod/container-environment.ts'
import { sandboxConfig } from '../src/pod/sandbox-config.ts'
import { cgroupPageSize } from '../src/resource/huge-pages.ts'
import { podResources } from '../src/resource/pod-resources.ts'

const pod = (spec: object = {}, container: object = {}): Pod => ({
  metadata: { name: 'web', namespace: 'shop', uid: 'u1', labels: { app: 'web' }, annotations: { note: 'x' } },
  spec: { terminationGracePeriodSeconds: 30, containers: [{ name: 'main', image: 'i', ...container }], ...spec },
})
const first = ({ spec }: Pod): Container => spec?.containers[0] ?? { name: '' }
const configOf = (one: Pod, more: object = {}) =>
  containerConfig(one, first(one), {
    attempt: 2,
    image: ImageSpec.fromPartial({ image: 'sha256:1', userSpecifiedImage: 'i' }),
    imageUser: { uid: 0 },
    environment: new Map([['NAME', 'world']]),
    mounts: [],
    devices: [],
    nodeMemoryBytes: 1_000_000n,
    cgroupVersion: 1,
    seccompFolder: '/var/lib/kubelet/seccomp',
    ...more,
  })
const securityOf = (spec: object, container: object, more: object = {}) =>
  configOf(pod(spec, container), more).linux?.securityContext

it('names, logs, labels and annotations as in other kubelets', () => {
  const lifecycle = { preStop: { sleep: { seconds: 1 } } }
  const config = configOf(pod({}, { command: ['echo'], args: ['hello $(NAME)', '$$(NAME)'], tty: true, lifecycle }))
  expect(config).toMatchObject({
    metadata: { name: 'main', attempt: 2 },
    command: ['echo'],
    args: ['hello world', '$(NAME)'],
    logPath: 'main/2.log',
    tty: true,
    labels: {
      'io.kubernetes.container.name': 'main',
      'io.kubernetes.pod.name': 'web',
      'io.kubernetes.pod.namespace': 'shop',
      'io.kubernetes.pod.uid': 'u1',
    },
    annotations: {
      'io.kubernetes.container.hash': expect.stringMatching(/^[0-9a-f]+$/),
      'io.kubernetes.container.restartCount': '2',
      'io.kubernetes.container.terminationMessagePath': '/dev/termination-log',
      'io.kubernetes.container.terminationMessagePolicy': 'File',
      'io.kubernetes.container.preStopHandler': '{"sleep":{"seconds":1}}',
      'io.kubernetes.pod.terminationGracePeriod': '30',
    },
  })
  expect(config.envs.map(({ key, value }) => [key, value.toString()])).toEqual([['NAME', 'world']])
})

it('resources of a container and what they mean for the pod', () => {
  const resources = { requests: { cpu: '250m', memory: '100k' }, limits: { cpu: '500m', memory: '200k' } }
  const one = pod({}, { resources })
  expect(configOf(one).linux?.resources).toMatchObject({
    cpuShares: 256n,
    cpuQuota: 50_000n,
    memoryLimitInBytes: 200_000n,
    oomScoreAdj: 900n,
  })
  const memoryBytes = 200_000
  expect(podResources(one)).toEqual({ cpuShares: 256, cpuQuotaUs: 50_000, cpuPeriodUs: 100_000, memoryBytes })
  const fine = { enforced: true, periodUs: 10_000n }
  expect(podResources(one, fine)).toEqual({ cpuShares: 256, cpuQuotaUs: 5_000, cpuPeriodUs: 10_000, memoryBytes })
  expect(podResources(one, { ...fine, enforced: false })).toEqual({ cpuShares: 256, memoryBytes })
  expect(podResources(pod())).toEqual({ cpuShares: 2 })
  const inits = [
    { name: 'side', restartPolicy: 'Always', resources: { requests: { cpu: '100m' } } },
    { name: 'big', resources: { requests: { cpu: '1' } } },
  ]
  expect(podResources(pod({ initContainers: inits }, { resources }))).toEqual({ cpuShares: 1126 })
})

it.each([
  ['4Ki', '4KB'],
  ['64Ki', '64KB'],
  ['2Mi', '2MB'],
  ['512Mi', '512MB'],
  ['1Gi', '1GB'],
  ['16Gi', '16GB'],
])('huge pages of %s are %s to cgroups and CRI', (size, name) => {
  expect(cgroupPageSize(size)).toBe(name)
})

it('huge pages that are not asked for may not be used', () => {
  const resources = { limits: { memory: '1Mi', 'hugepages-2Mi': '6Mi' }, requests: { 'hugepages-2Mi': '6Mi' } }
  const one = pod({}, { resources })
  expect(configOf(one, { pageSizes: ['1Gi', '2Mi'] }).linux?.resources?.hugepageLimits).toEqual([
    { pageSize: '1GB', limit: 0n },
    { pageSize: '2MB', limit: 6n << 20n },
  ])
  expect(podResources(one, undefined, ['1Gi', '2Mi']).hugePages).toEqual({ '1GB': 0, '2MB': 6 << 20 })
  expect(podResources(pod(), undefined, ['2Mi'])).toEqual({ cpuShares: 2, hugePages: { '2MB': 0 } })
})

describe('security context', () => {
  it.each([
    [
      'nothing asked',
      {},
      {},
      { privileged: false, runAsUser: { value: 0n }, noNewPrivs: false, seccomp: { profileType: 1 } },
    ],
    [
      'of the pod',
      { securityContext: { runAsUser: 7, runAsGroup: 8 } },
      {},
      { runAsUser: { value: 7n }, runAsGroup: { value: 8n } },
    ],
    ['own beats pod', { securityContext: { runAsUser: 7 } }, { runAsUser: 9 }, { runAsUser: { value: 9n } }],
    ['groups', { securityContext: { fsGroup: 5, supplementalGroups: [6] } }, {}, { supplementalGroups: [5n, 6n] }],
    [
      'no more rights',
      {},
      { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
      { noNewPrivs: true, readonlyRootfs: true },
    ],
    [
      'capabilities',
      {},
      { capabilities: { add: ['NET_ADMIN'], drop: ['ALL'] } },
      { capabilities: { addCapabilities: ['NET_ADMIN'], dropCapabilities: ['ALL'] } },
    ],
    [
      'seccomp of the runtime',
      { securityContext: { seccompProfile: { type: 'RuntimeDefault' } } },
      {},
      { seccomp: { profileType: 0 } },
    ],
    [
      'seccomp of a file',
      {},
      { seccompProfile: { type: 'Localhost', localhostProfile: 'a.json' } },
      { seccomp: { profileType: 2, localhostRef: '/var/lib/kubelet/seccomp/a.json' } },
    ],
    ['unmasked', {}, { procMount: 'Unmasked' }, { maskedPaths: [], readonlyPaths: [] }],
    [
      'namespaces of the host',
      { hostNetwork: true, hostPID: true, hostIPC: true },
      {},
      { namespaceOptions: { network: 2, pid: 2, ipc: 2 } },
    ],
    ['shared processes', { shareProcessNamespace: true }, {}, { namespaceOptions: { network: 0, pid: 0, ipc: 0 } }],
    ['own processes', {}, {}, { namespaceOptions: { network: 0, pid: 1, ipc: 0 } }],
  ])('%s', (_title, spec, securityContext, expected) => {
    expect(securityOf(spec, { securityContext })).toMatchObject(expected)
  })

  it('groups of its volumes come beside those of the pod', () => {
    const spec = { securityContext: { supplementalGroups: [6] } }
    expect(securityOf(spec, {}, { volumeGroups: [777n] })).toMatchObject({ supplementalGroups: [6n, 777n] })
  })

  it.each([
    [
      { runAsUser: 0 },
      { uid: 1 },
      'container\'s runAsUser breaks non-root policy (pod: "web_shop(u1)", container: main)',
    ],
    [{}, { uid: 0 }, 'container has runAsNonRoot and image will run as root (pod: "web_shop(u1)", container: main)'],
    [{}, {}, 'container has runAsNonRoot and image will run as root (pod: "web_shop(u1)", container: main)'],
    [
      {},
      { username: 'app' },
      'container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root (pod: "web_shop(u1)", container: main)',
    ],
  ])('refuses root: %j, image %j', (own, imageUser, message) => {
    const securityContext = { runAsNonRoot: true, ...own }
    expect(() => securityOf({}, { securityContext }, { imageUser })).toThrow(message)
  })
})

it('the sandbox of a pod', () => {
  const ports = [{ containerPort: 80, hostPort: 8080, protocol: 'UDP' }]
  const sysctls = [{ name: 'net/core/somaxconn', value: '1' }]
  const config = sandboxConfig(pod({ securityContext: { sysctls } }, { ports }), {
    attempt: 1,
    hostname: 'web',
    dns: { servers: ['10.0.0.10'], searches: [], options: [] },
    podLogsDir: '/var/log/pods',
    cgroupParent: '/kubepods/podu1',
    resources: { cpuShares: 2 },
  })
  expect(config).toMatchObject({
    metadata: { name: 'web', namespace: 'shop', uid: 'u1', attempt: 1 },
    hostname: 'web',
    logDirectory: '/var/log/pods/shop_web_u1',
    portMappings: [{ containerPort: 80, hostPort: 8080, protocol: 1, hostIp: '' }],
    labels: { app: 'web', 'io.kubernetes.pod.uid': 'u1' },
    annotations: { note: 'x' },
    linux: { cgroupParent: '/kubepods/podu1', sysctls: { 'net.core.somaxconn': '1' } },
  })
})

describe('environment', () => {
  const facts = { nodeName: 'n1', hostIPs: ['192.0.2.1'], podIPs: ['10.0.0.1', 'fd00::1'], allocatable: { cpu: '4' } }
  const objects = new Map([['ConfigMap/c', { a: '1', b: '2' }]])
  const service = {
    metadata: { name: 'db', namespace: 'shop' },
    spec: { clusterIP: '10.0.0.9', ports: [{ port: 5432 }] },
  }
  const gather = (container: object) => {
    const one = pod({}, container)
    return Object.fromEntries(containerEnvironment(one, first(one), { services: [service], objects }, facts))
  }
  const field = (fieldPath: string) => ({ name: 'X', valueFrom: { fieldRef: { fieldPath } } })

  it('later wins: Services, envFrom, env', () => {
    const env = [
      { name: 'DB_SERVICE_HOST', value: 'mine' },
      { name: 'B', valueFrom: { configMapKeyRef: { name: 'c', key: 'b' } } },
      { name: 'C', value: '$(B)-$(P_a)-$(DB_SERVICE_PORT)-$(NONE)' },
      { name: 'D', valueFrom: { secretKeyRef: { name: 's', key: 'k', optional: true } } },
    ]
    const all = gather({ env, envFrom: [{ prefix: 'P_', configMapRef: { name: 'c' } }] })
    expect(all).toMatchObject({ P_a: '1', P_b: '2', B: '2', C: '2-1-5432-$(NONE)', DB_SERVICE_HOST: 'mine' })
    expect(all).not.toHaveProperty('D')
  })
  it.each([
    [field('metadata.name'), 'web'],
    [field("metadata.labels['app']"), 'web'],
    [field('status.podIPs'), '10.0.0.1,fd00::1'],
    [field('status.hostIP'), '192.0.2.1'],
    [field('spec.nodeName'), 'n1'],
    [{ name: 'X', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } }, '4'],
    [{ name: 'X', valueFrom: { resourceFieldRef: { resource: 'limits.cpu', divisor: '1m' } } }, '4000'],
  ])('%j', (variable, expected) => {
    expect(gather({ env: [variable] })['X']).toBe(expected)
  })
  it.each([
    [{ env: [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'no', key: 'a' } } }] }, 'configmap "no" not found'],
    [{ env: [{ name: 'X', valueFrom: { secretKeyRef: { name: 'no', key: 'a' } } }] }, 'secret "no" not found'],
    [
      { env: [{ name: 'X', valueFrom: { configMapKeyRef: { name: 'c', key: 'k' } } }] },
      "couldn't find key k in ConfigMap shop/c",
    ],
    [{ envFrom: [{ secretRef: { name: 'no' } }] }, 'secret "no" not found'],
  ])('%j', (container, message) => {
    expect(() => gather(container)).toThrow(message)
  })
})
