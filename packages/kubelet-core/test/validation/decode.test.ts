// What is not of the API's types is told, and how texts are read.
import { describe, expect, it } from 'vitest'
import { documentsOf } from '../../src/source/documents.ts'
import { ManifestError } from '../../src/source/manifest-error.ts'
import { staticPodOf } from '../../src/source/manifest.ts'
import { ofSpec, refusal } from './refusal.ts'

describe('decoding', () => {
  const wrong = (got: string, field: string, type: string): string =>
    `json: cannot unmarshal ${got} into Go struct field Pod.${field} of type ${type}`
  it.each([
    ['containers: [{name: a, Image: i}]', 'spec.containers[0].image: Required value'],
    ['hostname: 5', wrong('number 5', 'spec.hostname', 'string')],
    ['hostNetwork: "yes"', wrong('string "yes"', 'spec.hostNetwork', 'bool')],
    ['priority: 2147483648', wrong('number 2147483648', 'spec.priority', 'int32')],
    ['activeDeadlineSeconds: 1.5', wrong('number 1.5', 'spec.activeDeadlineSeconds', 'int64')],
    ['volumes: {}', wrong('object', 'spec.volumes', '[]v1.Volume')],
    ['nodeSelector: [a]', wrong('array', 'spec.nodeSelector', 'map[string]string')],
    ['nodeSelector: {a: true}', wrong('bool true', 'spec.nodeSelector[a]', 'string')],
    ['affinity: near', wrong('string "near"', 'spec.affinity', 'v1.Affinity')],
    [
      'containers: [{name: a, image: i, env: [{name: a, value: 1}]}]',
      wrong('number 1', 'spec.containers[0].env[0].value', 'string'),
    ],
    [
      'containers: [{name: a, image: i, livenessProbe: {tcpSocket: {port: 1.5}}}]',
      wrong('number 1.5', 'spec.containers[0].livenessProbe.tcpSocket.port', 'intstr.IntOrString'),
    ],
    ['overhead: {cpu: []}', wrong('array', 'spec.overhead[cpu]', 'resource.Quantity')],
    [
      'overhead: {cpu: 1x}',
      'spec.overhead[cpu]: Invalid value: "1x": quantities must match the regular expression \'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$\'',
    ],
    [
      'hostname: 5, subdomain: 6',
      `[${wrong('number 5', 'spec.hostname', 'string')}, ${wrong('number 6', 'spec.subdomain', 'string')}]`,
    ],
  ])('%s', (fields, message) => expect(ofSpec(fields)).toBe(message))
  it.each([
    [
      'metadata: {name: a, creationTimestamp: yesterday}',
      wrong('string "yesterday"', 'metadata.creationTimestamp', 'v1.Time'),
    ],
    ['metadata: {name: a, labels: {b: 0644}}', wrong('number 420', 'metadata.labels[b]', 'string')],
    ['spec: []', wrong('array', 'spec', 'v1.PodSpec')],
  ])('%s', (text, message) => expect(refusal(`{apiVersion: v1, kind: Pod, ${text}}`)).toBe(message))
})

it('fields that the API does not know are told, and left out', () => {
  const spec = '{containers: [{name: a, image: i, Image: j}], foo: 1, securityContext: {constructor: 1, __proto__: 2}}'
  const [document] = documentsOf(`apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: ${spec}`)
  const told: string[] = []
  const ignored = (fields: readonly string[]): void => void told.push(...fields)
  const pod = staticPodOf(document, { nodeName: 'n', origin: { path: '/m' }, seenMs: 0, ignored })
  expect(told.toSorted()).toEqual([
    'spec.containers[0].Image',
    'spec.foo',
    'spec.securityContext.__proto__',
    'spec.securityContext.constructor',
  ])
  expect(pod.spec?.securityContext).toEqual({})
  expect(pod.spec).not.toHaveProperty('foo')
})

describe('documents', () => {
  it.each([
    ['a: 0644', { a: 420 }],
    ['a: 0o644', { a: 420 }],
    ['a: yes', { a: true }],
    ['a: 2024-01-01T00:00:00Z', { a: '2024-01-01T00:00:00Z' }],
    ['a: 12:30', { a: '12:30' }],
    ['a: .', { a: '.' }],
    ['a: !!binary aGk=', { a: 'aGk=' }],
    ['a: &x {b: 1}\nc: {<<: *x}', { a: { b: 1 }, c: { b: 1 } }],
  ])('%s', (text, value) => expect(documentsOf(text)).toEqual([value]))
  it.each([
    ['a: 1\na: 2', 'strict decoding error: duplicate field "a"'],
    [
      '{"spec": {"containers": [{"name": "a", "name": "b"}]}}',
      'strict decoding error: duplicate field "spec.containers[0].name"',
    ],
    ['a: &x [*x]', 'neither JSON nor YAML: *x stands for what it is in'],
    ['a: *x', 'neither JSON nor YAML: Unresolved alias (the anchor must be set before the alias): x'],
  ])('%s', (text, message) => expect(() => documentsOf(text)).toThrow(new ManifestError(message)))
  it('that are nested without end are refused', () =>
    expect(() => documentsOf('['.repeat(100_000))).toThrow(ManifestError))
})
