import type { Container, Node, Pod, PodSpec } from 'kubernetes-types/core/v1.d.ts'
import { expect, test } from 'vitest'
import { tolerates } from '@nodelet/kube-client'
import { misfit, podRequests, unschedulableMessage } from '../src/controllers/fit.ts'

const node = (changes: { spec?: Node['spec']; ready?: string; labels?: Record<string, string> } = {}): Node => ({
  metadata: { name: 'one', labels: { disk: 'ssd', cores: '4', ...changes.labels } },
  spec: changes.spec ?? {},
  status: {
    conditions: [{ type: 'Ready', status: changes.ready ?? 'True' }],
    allocatable: { cpu: '2', memory: '1Gi', pods: '3', 'example.com/gpu': '1' },
  },
})
const asks = (requests: Record<string, string>, more: Partial<Container> = {}): Container => ({
  name: 'c',
  resources: { requests },
  ...more,
})
const pod = (spec: Partial<PodSpec> = {}, phase = 'Pending'): Pod => ({
  metadata: { name: 'p' },
  spec: { containers: [asks({})], ...spec },
  status: { phase },
})
const affinity = (key: string, operator: string, ...values: string[]): Partial<PodSpec> => ({
  affinity: {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [
          key === 'metadata.name'
            ? { matchFields: [{ key, operator, values }] }
            : { matchExpressions: [{ key, operator, values }] },
        ],
      },
    },
  },
})
const onPort = (hostPort: number, more: object = {}): Partial<PodSpec> => ({
  containers: [asks({}, { ports: [{ containerPort: 80, hostPort, ...more }] })],
})
const taint = { key: 'dedicated', value: 'db', effect: 'NoSchedule' }
const mismatch = "node(s) didn't match Pod's node affinity/selector"
const noPort = "node(s) didn't have free ports for the requested pod ports"

test.each<[string, Partial<PodSpec>, Node, Pod[], string | undefined]>([
  ['a plain pod', {}, node(), [], undefined],
  ['cordoned', {}, node({ spec: { unschedulable: true } }), [], 'node(s) were unschedulable'],
  ['not ready', {}, node({ ready: 'False' }), [], 'node(s) were not ready'],
  ['tainted', {}, node({ spec: { taints: [taint] } }), [], 'node(s) had untolerated taint {dedicated: db}'],
  [
    'tolerated',
    { tolerations: [{ key: 'dedicated', operator: 'Exists' }] },
    node({ spec: { taints: [taint] } }),
    [],
    undefined,
  ],
  ['soft taint', {}, node({ spec: { taints: [{ ...taint, effect: 'PreferNoSchedule' }] } }), [], undefined],
  ['selector', { nodeSelector: { disk: 'hdd' } }, node(), [], mismatch],
  ['affinity In', affinity('disk', 'In', 'ssd'), node(), [], undefined],
  ['affinity NotIn', affinity('disk', 'NotIn', 'ssd'), node(), [], mismatch],
  ['affinity Gt', affinity('cores', 'Gt', '3'), node(), [], undefined],
  ['affinity Lt', affinity('cores', 'Lt', '3'), node(), [], mismatch],
  ['affinity to a name', affinity('metadata.name', 'In', 'two'), node(), [], mismatch],
  [
    'fits exactly',
    { containers: [asks({ cpu: '500m' })] },
    node(),
    [pod({ containers: [asks({ cpu: '1500m' })] })],
    undefined,
  ],
  [
    'no cpu left',
    { containers: [asks({ cpu: '501m' })] },
    node(),
    [pod({ containers: [asks({ cpu: '1500m' })] })],
    'Insufficient cpu',
  ],
  [
    'ended pods need nothing',
    { containers: [asks({ cpu: '2' })] },
    node(),
    [pod({ containers: [asks({ cpu: '2' })] }, 'Succeeded')],
    undefined,
  ],
  ['memory', { containers: [asks({ memory: '1025Mi' })] }, node(), [], 'Insufficient memory'],
  ['devices', { containers: [asks({ 'example.com/gpu': '2' })] }, node(), [], 'Insufficient example.com/gpu'],
  ['unknown devices', { containers: [asks({ 'example.com/tpu': '1' })] }, node(), [], 'Insufficient example.com/tpu'],
  ['too many', {}, node(), [pod(), pod(), pod()], 'Too many pods'],
  ['host port taken', onPort(80), node(), [pod(onPort(80))], noPort],
  ['other protocol', onPort(80, { protocol: 'UDP' }), node(), [pod(onPort(80))], undefined],
  ['other address', onPort(80, { hostIP: '10.0.0.1' }), node(), [pod(onPort(80, { hostIP: '10.0.0.2' }))], undefined],
  ['any address', onPort(80, { hostIP: '10.0.0.1' }), node(), [pod(onPort(80))], noPort],
])('%s', (_, spec, on, others, expected) => {
  expect(misfit(pod(spec), on, others)).toBe(expected)
})

test('requests: the containers with sidecars, or the largest init container with the sidecars before it', () => {
  const spec = (initContainers: Container[]): Pod =>
    pod({ initContainers, containers: [asks({ cpu: '1' }), asks({ cpu: '1' })] })
  const sidecar = asks({ cpu: '500m' }, { restartPolicy: 'Always' })
  expect(podRequests(spec([]))).toEqual({ cpu: 2 })
  expect(podRequests(spec([asks({ cpu: '3' })]))).toEqual({ cpu: 3 })
  expect(podRequests(spec([sidecar]))).toEqual({ cpu: 2.5 })
  expect(podRequests(spec([sidecar, asks({ cpu: '3' })]))).toEqual({ cpu: 3.5 })
  expect(podRequests(spec([asks({ cpu: '2.2' }), sidecar]))).toEqual({ cpu: 2.5 })
  expect(podRequests(pod({ containers: [asks({ memory: '1Ki' })], overhead: { memory: '1Ki' } }))).toEqual({
    memory: 2048,
  })
})

test('tolerations', () => {
  const noExecute = { key: 'a', value: '1', effect: 'NoExecute' }
  expect(tolerates([{ operator: 'Exists' }], noExecute)).toBe(true)
  expect(tolerates([{ key: 'a', value: '1' }], noExecute)).toBe(true)
  expect(tolerates([{ key: 'a', value: '2' }], noExecute)).toBe(false)
  expect(tolerates([{ key: 'a', operator: 'Exists', effect: 'NoSchedule' }], noExecute)).toBe(false)
  expect(tolerates([{ key: '', value: '1' }], noExecute)).toBe(false)
})

test('the message counts the reasons', () => {
  expect(unschedulableMessage(0, [])).toBe('no nodes available to schedule pods')
  expect(unschedulableMessage(3, ['Too many pods', 'Insufficient cpu', 'Insufficient cpu'])).toBe(
    '0/3 nodes are available: 1 Too many pods, 2 Insufficient cpu.',
  )
})
