import type { Container, Pod, Volume } from 'kubernetes-types/core/v1.d.ts'
import { expect, test } from 'vitest'
import { metadataField, resourceField } from '../src/index.ts'
import { cleanPath } from '../src/volume/payload.ts'
import { planVolumes } from '../src/volume/plan.ts'

const gibibyte = 1n << 30n
const podWith = (volume: Volume, container: Partial<Container> = {}): Pod => ({
  metadata: { name: 'p', namespace: 'n', uid: 'u' },
  spec: {
    containers: [{ name: 'c', volumeMounts: [{ name: volume.name, mountPath: '/v' }], ...container }],
    volumes: [volume],
  },
})
const pages = (sizes: Record<string, string>): Partial<Container> => ({
  resources: { limits: Object.fromEntries(Object.entries(sizes).map(([size, limit]) => [`hugepages-${size}`, limit])) },
})
/** A source that is good but for this. */
const certificateOf = (wrong: object): Volume => {
  const podCertificate = { signerName: 'example.com/s', keyType: 'ED25519', keyPath: 'key', ...wrong }
  return { name: 'v', projected: { sources: [{ podCertificate } as object] } }
}
const limited = (memory: string): Partial<Container> => ({ resources: { limits: { memory } } })

test.each<[string, Pod, object]>([
  ['emptyDir on disk', podWith({ name: 'v', emptyDir: {} }), { kind: 'emptyDir', memoryBytes: undefined }],
  [
    'memory: the machine is the limit',
    podWith({ name: 'v', emptyDir: { medium: 'Memory' } }),
    { memoryBytes: gibibyte },
  ],
  [
    'memory: the pod is the limit',
    podWith({ name: 'v', emptyDir: { medium: 'Memory', sizeLimit: '1Gi' } }, limited('64Mi')),
    { memoryBytes: 64n << 20n },
  ],
  [
    'memory: sizeLimit is the limit',
    podWith({ name: 'v', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } }, limited('64Mi')),
    { memoryBytes: 1n << 20n },
  ],
  [
    'huge pages: the pod is the limit',
    podWith({ name: 'v', emptyDir: { medium: 'HugePages', sizeLimit: '1Gi' } }, pages({ '2Mi': '8Mi' })),
    { memoryBytes: 8n << 20n, pageBytes: 2n << 20n },
  ],
  [
    'huge pages: one of two sizes, and sizeLimit is the limit',
    podWith(
      { name: 'v', emptyDir: { medium: 'HugePages-2Mi', sizeLimit: '4Mi' } },
      pages({ '1Gi': '1Gi', '2Mi': '8Mi' }),
    ),
    { memoryBytes: 4n << 20n, pageBytes: 2n << 20n },
  ],
  [
    'configMap',
    podWith({ name: 'v', configMap: { name: 'm', defaultMode: 0o400, items: [{ key: 'k', path: 'a/b' }] } }),
    {
      plugin: 'configmap',
      memory: false,
      defaultMode: 0o400,
      sources: [{ kind: 'ConfigMap', name: 'm', optional: false, items: [{ key: 'k', path: 'a/b' }] }],
    },
  ],
  [
    'secret',
    podWith({ name: 'v', secret: { secretName: 's', optional: true } }),
    { plugin: 'secret', memory: true, defaultMode: 0o644, sources: [{ kind: 'Secret', name: 's', optional: true }] },
  ],
  [
    'projected token',
    podWith({ name: 'v', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } }),
    { plugin: 'projected', sources: [{ kind: 'token', audience: '', expirationSeconds: 3600, path: 'token' }] },
  ],
  ['no source is emptyDir', podWith({ name: 'v' }), { kind: 'emptyDir' }],
])('%s', (_, pod, plan) => {
  expect(planVolumes(pod, gibibyte)).toEqual([expect.objectContaining({ name: 'v', ...plan })])
})

test('a volume that no container mounts is left alone', () => {
  expect(planVolumes(podWith({ name: 'v', nfs: { server: 's', path: '/' } }, { volumeMounts: [] }), gibibyte)).toEqual(
    [],
  )
})

test.each<[Volume, RegExp]>([
  [{ name: 'v', flexVolume: { driver: 'a/b' } }, /volume "v" is of kind flexVolume, which is not supported/],
  [{ name: 'v', iscsi: {} as never }, /volume "v" : iscsi\.targetPortal ":3260"/],
  [{ name: 'v', persistentVolumeClaim: { claimName: 'c' } }, /of kind persistentVolumeClaim/],
  [{ name: 'v', emptyDir: { medium: 'HugePages' } }, /volume "v" : medium HugePages: no container has a limit of huge/],
  [{ name: 'v', emptyDir: { medium: 'Tape' } }, /emptyDir with medium Tape/],
  [{ name: 'v', emptyDir: { medium: 'Memory', sizeLimit: 'x' } }, /volume "v" : emptyDir.sizeLimit: "x" is not/],
  [{ name: 'v', projected: { sources: [{ crystalBall: { path: 'p' } } as object] } }, /projected crystalBall/],
  [
    certificateOf({ keyType: 'RSA2048' }),
    /podCertificate.keyType: Unsupported value: "RSA2048": supported values: "RSA3072"/,
  ],
  [certificateOf({ signerName: '' }), /projected.sources\[0].podCertificate.signerName: Required value/],
  [certificateOf({ keyPath: '' }), /podCertificate: Required value: specify at least one of credentialBundlePath/],
  [certificateOf({ keyPath: '../key' }), /podCertificate.keyPath: Invalid value: "..\/key": must not contain '..'/],
  [certificateOf({ maxExpirationSeconds: 60 }), /podCertificate.maxExpirationSeconds: Invalid value: 60: if provided/],
  [{ name: 'v', hostPath: { path: '/a/../etc' } }, /write it absolute, without \.\./],
  [{ name: '../v', emptyDir: {} }, /is not a DNS label/],
])('%j is refused', (volume, message) => {
  expect(() => planVolumes(podWith(volume), gibibyte)).toThrow(message)
  expect(() => planVolumes(podWith(volume), gibibyte)).toThrow(expect.objectContaining({ name: 'VolumeError' }))
})

test.each<[string, Record<string, string>, RegExp]>([
  ['HugePages', { '2Mi': '2Mi', '1Gi': '1Gi' }, /medium HugePages: the pod has huge pages of 2Mi and 1Gi/],
  ['HugePages-1Gi', { '2Mi': '2Mi' }, /medium HugePages-1Gi: no container has a limit of hugepages-1Gi/],
  ['HugePages-x', { '2Mi': '2Mi' }, /emptyDir.medium: "x" is not/],
])('medium %s with limits %j is refused', (medium, sizes, message) => {
  expect(() => planVolumes(podWith({ name: 'v', emptyDir: { medium } }, pages(sizes)), gibibyte)).toThrow(message)
})

const described: Pod = {
  metadata: {
    name: 'web',
    namespace: 'shop',
    uid: 'u-1',
    labels: { b: '2', a: 'x"y\\z' },
    annotations: { note: 'lines\nand\ttabs, ünïcode, \u200b\x01 and 😀' },
  },
  spec: {
    containers: [
      { name: 'c', resources: { limits: { memory: '64Mi', cpu: '1500m' }, requests: { cpu: '250m' } } },
      { name: 'free' },
    ],
  },
}

test.each([
  ['metadata.name', 'web'],
  ['metadata.namespace', 'shop'],
  ['metadata.uid', 'u-1'],
  ['metadata.labels', 'a="x\\"y\\\\z"\nb="2"'],
  ['metadata.annotations', 'note="lines\\nand\\ttabs, ünïcode, \\u200b\\x01 and 😀"'],
  ["metadata.labels['b']", '2'],
  ["metadata.annotations['none']", ''],
])('field %s', (fieldPath, text) => {
  expect(metadataField(described, { fieldPath })).toBe(text)
})

test.each([
  ['c', 'limits.cpu', undefined, '2'],
  ['c', 'limits.cpu', '1m', '1500'],
  ['c', 'requests.cpu', '0', '1'],
  ['c', 'limits.memory', undefined, '67108864'],
  ['c', 'limits.memory', '1Mi', '64'],
  ['free', 'limits.memory', '1Gi', '1'],
  ['free', 'limits.cpu', '1', '4'],
  ['free', 'requests.memory', undefined, '0'],
])('resource %s %s by %s', (containerName, resource, divisor, text) => {
  const selector = { containerName, resource, ...(divisor === undefined ? {} : { divisor }) }
  expect(resourceField(described, selector, { milliCpu: 4000n, memoryBytes: gibibyte })).toBe(text)
})

test('unknown fields are refused', () => {
  expect(() => metadataField(described, { fieldPath: 'spec.nodeName' })).toThrow('unsupported fieldPath: spec.nodeName')
  const none = { milliCpu: 0n, memoryBytes: 0n }
  expect(() => resourceField(described, { containerName: 'x', resource: 'limits.cpu' }, none)).toThrow(
    'container x not',
  )
  expect(() => resourceField(described, { containerName: 'c', resource: 'limits.gpu' }, none)).toThrow('limits.gpu')
})

test.each(['', '/a', 'a/../b', '..', '..data', './..data', '.', './', 'a\0b'])('path %j is refused', (path) => {
  expect(() => cleanPath(path)).toThrow('invalid path')
})

test.each([
  ['a/b', 'a/b'],
  ['./a', 'a'],
  ['a//b/./c/', 'a/b/c'],
])('path %j is %j', (path, clean) => expect(cleanPath(path)).toBe(clean))
