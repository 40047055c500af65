import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { expect, test } from 'vitest'
import { containerCgroupValues } from '../src/resource/container-resources.ts'
import { oomScoreAdj, podCgroupPath, qosClass } from '../src/resource/qos.ts'
import { podSlicePath } from '../src/resource/slices.ts'

type Resources = { requests?: Record<string, string>; limits?: Record<string, string> }

const podOf = (containers: Resources[], initContainers: Resources[] = []): Pod => ({
  metadata: { name: 'web', uid: 'a-b-c' },
  spec: {
    containers: containers.map((resources, index) => ({ name: `c${index}`, resources })),
    initContainers: initContainers.map((resources, index) => ({ name: `i${index}`, resources })),
  },
})
const full = { cpu: '1', memory: '64Mi' }

test.each<[string, Pod, string]>([
  ['nothing asked', podOf([{}, {}]), 'BestEffort'],
  ['zero asked', podOf([{ requests: { cpu: '0' } }]), 'BestEffort'],
  ['limits only', podOf([{ limits: full }]), 'Guaranteed'],
  ['equal in other words', podOf([{ limits: full, requests: { cpu: '1000m', memory: '65536Ki' } }]), 'Guaranteed'],
  ['a smaller request', podOf([{ limits: full, requests: { cpu: '500m' } }]), 'Burstable'],
  ['one container without', podOf([{ limits: full }, {}]), 'Burstable'],
  ['an init container without', podOf([{ limits: full }], [{}]), 'Burstable'],
  ['memory only', podOf([{ limits: { memory: '1Gi' } }]), 'Burstable'],
])('%s', (_, pod, expected) => {
  expect(qosClass(pod)).toBe(expected)
})

test('pod-level resources decide alone', () => {
  const pod = podOf([{}, {}])
  Object.assign(pod.spec ?? {}, { resources: { limits: full, requests: full } })
  expect(qosClass(pod)).toBe('Guaranteed')
})

test.each([{}, { limits: {} }, { limits: { 'example.com/gpu': '1' } }])(
  'pod-level resources %j say nothing',
  (resources) => {
    const pod = podOf([{ limits: full }])
    Object.assign(pod.spec ?? {}, { resources })
    expect(qosClass(pod)).toBe('Guaranteed')
  },
)

test('a malformed quantity names the container and the field', () => {
  expect(() => qosClass(podOf([{ limits: { cpu: 'lots' } }]))).toThrow('resources of container c0: limits.cpu: "lots"')
})

test('cgroup paths of both drivers', () => {
  const pod = podOf([{}])
  expect(podCgroupPath(pod, 'Guaranteed')).toBe('/kubepods/poda-b-c')
  expect(podCgroupPath(pod, 'BestEffort', '/nodelet')).toBe('/nodelet/kubepods/besteffort/poda-b-c')
  expect(podSlicePath(pod, 'Burstable')).toBe(
    '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poda_b_c.slice',
  )
})

test.each([
  ['Guaranteed', 0n, -997],
  ['BestEffort', 0n, 1000],
  ['Burstable', 0n, 999],
  ['Burstable', 500n, 500],
  ['Burstable', 1000n, 3],
] as const)('OOM score of %s with %s of 1000 bytes is %s', (qos, request, score) => {
  expect(oomScoreAdj(qos, request, 1000n)).toBe(score)
})

test.each<[Resources, object]>([
  [{}, { cpuShares: 2n, cpuQuota: 0n, memoryLimitInBytes: 0n }],
  [{ requests: { cpu: '250m' } }, { cpuShares: 256n, cpuQuota: 0n }],
  [{ limits: { cpu: '500m', memory: '1Ki' } }, { cpuShares: 512n, cpuQuota: 50_000n, memoryLimitInBytes: 1024n }],
  [{ limits: { cpu: '1m' } }, { cpuShares: 2n, cpuQuota: 1000n }],
  [{ requests: { cpu: '1000' } }, { cpuShares: 262_144n }],
])('cgroup values of %j', (resources, expected) => {
  expect(containerCgroupValues(resources)).toMatchObject(expected)
})

test('keeps CPU limits by the configured period, or not at all', () => {
  const resources = { limits: { cpu: '500m' } }
  const periodUs = 10_000n
  expect(containerCgroupValues(resources, { enforced: true, periodUs })).toMatchObject({
    cpuQuota: 5000n,
    cpuPeriod: periodUs,
  })
  expect(containerCgroupValues(resources, { enforced: false, periodUs })).toMatchObject({ cpuQuota: 0n })
})
