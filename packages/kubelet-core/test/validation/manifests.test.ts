// What may be is taken as it is, and what is broken in any way is told and nothing else.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { documentsOf } from '../../src/source/documents.ts'
import { ManifestError } from '../../src/source/manifest-error.ts'
import { staticPodOf } from '../../src/source/manifest.ts'
import { validatePod } from '../../src/validation/pod.ts'
import { ofSpec } from './refusal.ts'

const facts = { nodeName: 'node-1', origin: { url: 'http://h/pods' }, seenMs: 0 }
const folder = join(import.meta.dirname, '../fixtures/manifests')
const read = (name: string): unknown => documentsOf(readFileSync(join(folder, `${name}.yaml`), 'utf8'))[0]

/** What the pod has of all that is written, without what says nothing. */
function kept(pod: unknown, written: unknown): unknown {
  if (Array.isArray(written)) return written.map((one, index) => kept((pod as unknown[])[index], one))
  if (typeof written !== 'object' || written === null) return pod
  const entries = Object.entries(written).filter(([, value]) => value !== null)
  return Object.fromEntries(entries.map(([key, value]) => [key, kept((pod as Record<string, unknown>)[key], value)]))
}
const withoutNulls = (value: unknown): unknown => kept(value, value)

describe('manifests that may be', () => {
  it.each(['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'])('%s of kubeadm', (name) => {
    const written = read(name) as { metadata: object }
    const pod = staticPodOf(written, facts)
    const expected = { ...written, metadata: { ...written.metadata, name: `${name}-node-1` } }
    expect(kept(pod, written)).toEqual(withoutNulls(expected))
    expect(pod.spec?.containers[0]?.ports?.[0]?.hostPort).toBe(pod.spec?.containers[0]?.ports?.[0]?.containerPort)
  })
  it('one of nearly all that there is', () => {
    const written = read('rich') as { spec: { containers: { resources: object; startupProbe: object }[] } }
    const pod = staticPodOf(written, facts)
    // A number is a quantity, and zero is a default.
    const [main, ...others] = written.spec.containers
    const limits = { cpu: '2', memory: '64Mi', 'hugepages-2Mi': '4Mi', 'example.com/gpu': '1' }
    const resources = { limits, requests: { ...limits, cpu: '500m' } }
    const startupProbe = { ...main?.startupProbe, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1 }
    expect(pod.spec?.containers[0]).toMatchObject({ resources, startupProbe })
    const spec = { ...written.spec, containers: [{ ...main, resources, startupProbe }, ...others] }
    expect(pod).toMatchObject({ spec })
  })
  it.each([
    'restartPolicy: null, volumes: null, nodeSelector: null',
    "restartPolicy: '', hostname: '', dnsPolicy: '', schedulerName: ''",
    'volumes: [{name: v, emptyDir: null}]',
    'volumes: [{name: v, gcePersistentDisk: {pdName: d}}]',
    'ephemeralContainers: []',
  ])('what says nothing: %s', (fields) => expect(ofSpec(fields)).toBe(''))
  it('an image whose name cannot be read: the pull tells it', () =>
    expect(ofSpec('containers: [{name: a, image: UPPER}]')).toBe(''))
})

it('what has a default is required of a pod that has none', () => {
  const probe = { httpGet: { port: 1 } }
  const env = [{ name: 'a', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }]
  const container = { name: 'a', image: 'i', ports: [{ containerPort: 1 }], readinessProbe: probe, env }
  const volumes = [{ name: 'v' }]
  const errors = validatePod({ metadata: { name: 'a' }, spec: { nodeName: 'A.b', containers: [container], volumes } })
  const path = 'spec.containers[0]'
  expect(errors.map(({ field, message, reason }) => [field, message, reason])).toEqual([
    ['metadata.namespace', 'Required value', 'FieldValueRequired'],
    ['spec.volumes[0]', 'Required value: must specify a volume type', 'FieldValueRequired'],
    [`${path}.terminationMessagePolicy`, 'Required value', 'FieldValueRequired'],
    [`${path}.ports[0].protocol`, 'Required value', 'FieldValueRequired'],
    [`${path}.env[0].valueFrom.fieldRef.apiVersion`, 'Required value', 'FieldValueRequired'],
    [`${path}.imagePullPolicy`, 'Required value', 'FieldValueRequired'],
    [`${path}.readinessProbe.httpGet.path`, 'Required value', 'FieldValueRequired'],
    [`${path}.readinessProbe.httpGet.scheme`, 'Required value', 'FieldValueRequired'],
    ['spec.restartPolicy', 'Required value', 'FieldValueRequired'],
    ['spec.dnsPolicy', 'Required value', 'FieldValueRequired'],
    ['spec.nodeName', expect.stringMatching('Invalid value: "A.b": a lowercase RFC 1123'), 'FieldValueInvalid'],
  ])
})

describe('broken in any way', () => {
  type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
  const values = fc.oneof(
    fc.jsonValue() as fc.Arbitrary<Json>,
    fc.constantFrom<Json>('', '..', '/', '-1', '1Ki', 0, -1, 2 ** 40, [], {}, [null], [[]], { name: null }),
  )
  /** Puts a value at a random place, under a random key, or takes one away. */
  function mutated(node: Json, picks: readonly number[], change: { key: string; value?: Json | undefined }): Json {
    const [pick = 0, ...rest] = picks
    if (typeof node !== 'object' || node === null || picks.length === 0) return change.value ?? null
    const entries = Object.entries(node)
    const index = pick % (entries.length + 1)
    const [key, inner] = entries[index] ?? [change.key, change.value ?? null]
    const next: [string, Json][] =
      change.value === undefined && rest.length === 0 ? [] : [[key, mutated(inner, rest, change)]]
    const result = [...entries.slice(0, index), ...next, ...entries.slice(index + 1)]
    return Array.isArray(node) ? result.map(([, value]) => value) : (Object.fromEntries(result) as Json)
  }

  it('a text is documents or a ManifestError', () => {
    const text = readFileSync(join(folder, 'rich.yaml'), 'utf8').slice(0, 1500)
    const place = fc.nat(text.length)
    const inserted = fc.oneof(
      fc.string(),
      fc.constantFrom('&a ', '*a', '<<: ', '- ', '{', '[', '"', '? ', '!!set ', '\t'),
    )
    fc.assert(
      fc.property(place, place, inserted, (from, length, piece) => {
        try {
          documentsOf(text.slice(0, from) + piece + text.slice(from + (length % 20)))
        } catch (error) {
          if (!(error instanceof ManifestError)) throw error
        }
      }),
      { numRuns: 500 },
    )
  })

  it.each(['etcd', 'rich'])('%s is a pod or a ManifestError', (name) => {
    const valid = read(name) as Json
    let refused = 0
    fc.assert(
      fc.property(
        fc.array(fc.nat(40), { minLength: 1, maxLength: 8 }),
        fc.record({
          key: fc.oneof(fc.string(), fc.constantFrom('__proto__', 'constructor', 'name')),
          value: fc.option(values, { nil: undefined }),
        }),
        (picks, change) => {
          try {
            staticPodOf(mutated(valid, picks, change), facts)
          } catch (error) {
            if (!(error instanceof ManifestError)) throw error
            expect(error.message).not.toBe('')
            refused += 1
          }
        },
      ),
      { numRuns: 3000 },
    )
    expect(refused).toBeGreaterThan(300)
  })
})
