// Rules for metadata refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofMetadata, refusal } from './refusal.ts'
import { label, labelKey, labelValue, subdomain } from './wording.ts'

const long = 'x'.repeat(64)

describe('metadata', () => {
  it.each([
    ['labels: {a: b}', 'metadata.name: Required value: name or generateName is required'],
    ["name: ''", 'metadata.name: Required value: name or generateName is required'],
    ['name: Bad_Name', `metadata.name: Invalid value: "Bad_Name-node-1": ${subdomain}`],
    [
      `name: ${'x'.repeat(247)}`,
      `metadata.name: Invalid value: "${'x'.repeat(247)}-node-1": must be no more than 253 bytes`,
    ],
    ['name: a, generateName: A-', `metadata.generateName: Invalid value: "A-": ${subdomain}`],
    ['name: a, namespace: a.b', 'metadata.namespace: Invalid value: "a.b": must not contain dots'],
    ['name: a, namespace: -a', `metadata.namespace: Invalid value: "-a": ${label}`],
    ['name: a, uid: ../etc', 'metadata.uid: Invalid value: "../etc": must be usable as a file name'],
    // No folder of a pod: what is in one of these would never be taken away.
    ...['.hidden', '_a', '-a'].map((uid): [string, string] => [
      `name: a, uid: '${uid}'`,
      `metadata.uid: Invalid value: "${uid}": must be usable as a file name`,
    ]),
    ["name: a, uid: '..'", 'metadata.uid: Invalid value: "..": must be usable as a file name'],
    ['name: a, generation: -1', 'metadata.generation: Invalid value: -1: must be greater than or equal to 0'],
    ['name: a, labels: {-a: b}', `metadata.labels: Invalid value: "-a": name part ${labelKey}`],
    ['name: a, labels: {A_/b: c}', `metadata.labels: Invalid value: "A_/b": prefix part ${subdomain}`],
    ["name: a, labels: {'/b': c}", 'metadata.labels: Invalid value: "/b": prefix part must be non-empty'],
    [
      'name: a, labels: {a/b/c: d}',
      `metadata.labels: Invalid value: "a/b/c": a valid label key ${labelKey} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ],
    [
      `name: a, labels: {${long}: b}`,
      `metadata.labels: Invalid value: "${long}": name part must be no more than 63 bytes`,
    ],
    ['name: a, labels: {a: -b}', `metadata.labels: Invalid value: "-b": ${labelValue}`],
    [`name: a, labels: {a: ${long}}`, `metadata.labels: Invalid value: "${long}": must be no more than 63 bytes`],
    ["name: a, annotations: {'a b': c}", `metadata.annotations: Invalid value: "a b": name part ${labelKey}`],
    [
      `name: a, annotations: {a: ${'x'.repeat(262_144)}}`,
      'metadata.annotations: Too long: may not be more than 262144 bytes',
    ],
    [
      'name: a, annotations: {controller.kubernetes.io/pod-deletion-cost: much}',
      'metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "much": must be a 32bit integer',
    ],
    [
      'name: a, annotations: {seccomp.security.alpha.kubernetes.io/pod: some}',
      'metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: Invalid value: "some": must be a valid seccomp profile',
    ],
    [
      'name: a, annotations: {container.seccomp.security.alpha.kubernetes.io/a: localhost/../x}',
      'metadata.annotations[container.seccomp.security.alpha.kubernetes.io/a]: Invalid value: "../x": must not contain \'..\'',
    ],
    [
      'name: a, annotations: {container.apparmor.security.beta.kubernetes.io/b: unconfined}',
      'metadata.annotations[container.apparmor.security.beta.kubernetes.io/b]: Invalid value: "b": container not found',
    ],
    [
      'name: a, annotations: {container.apparmor.security.beta.kubernetes.io/a: mine}',
      'metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: Invalid value: "mine": invalid AppArmor profile name: "mine"',
    ],
    [
      'name: a, ownerReferences: [{}]',
      '[metadata.ownerReferences[0].apiVersion: Invalid value: "": version must not be empty, metadata.ownerReferences[0].kind: Invalid value: "": must not be empty, metadata.ownerReferences[0].name: Invalid value: "": must not be empty, metadata.ownerReferences[0].uid: Invalid value: "": must not be empty]',
    ],
    [
      'name: a, ownerReferences: [{apiVersion: v1, kind: K, name: a, uid: u, controller: true}, {apiVersion: v1, kind: K, name: b, uid: v, controller: true}]',
      'metadata.ownerReferences: Invalid value: [{"apiVersion":"v1","kind":"K","name":"a","uid":"u","controller":true},{"apiVersion":"v1","kind":"K","name":"b","uid":"v","controller":true}]: Only one reference can have Controller set to true. Found "true" in references for K/a and K/b',
    ],
    [
      'name: a, finalizers: [mine]',
      'metadata.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified',
    ],
    ['name: a, finalizers: [a/-b]', `metadata.finalizers: Invalid value: "a/-b": name part ${labelKey}`],
  ])('%.80s', (fields, message) => expect(ofMetadata(fields)).toBe(message))
})

it.each([
  ['', '[apiVersion: Required value, kind: Required value]'],
  ['apiVersion: v1\nkind: Job', 'kind: Unsupported value: "Job": supported values: "Pod"'],
  ['apiVersion: v2\nkind: Pod', 'apiVersion: Unsupported value: "v2": supported values: "v1"'],
  [
    'apiVersion: v1\nkind: Pod',
    '[metadata.name: Required value: name or generateName is required, spec.containers: Required value]',
  ],
])('what is no pod: %j', (text, message) => expect(refusal(text)).toBe(message))

it.each([
  [
    'annotations: {seccomp.security.alpha.kubernetes.io/pod: unconfined}',
    'securityContext: {seccompProfile: {type: RuntimeDefault}}',
    'spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match',
  ],
  [
    'annotations: {container.seccomp.security.alpha.kubernetes.io/a: localhost/x}',
    'containers: [{name: a, image: i, securityContext: {seccompProfile: {type: Localhost, localhostProfile: z}}}]',
    'spec.containers[0].securityContext.seccompProfile.localhostProfile: Forbidden: seccomp profile in annotation and field must match',
  ],
  [
    'annotations: {container.apparmor.security.beta.kubernetes.io/a: unconfined}',
    'securityContext: {appArmorProfile: {type: RuntimeDefault}}',
    'spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match',
  ],
])('an annotation of old and its field agree: %s', (annotations, spec, message) => {
  const containers = spec.includes('containers:') ? '' : 'containers: [{name: a, image: i}], '
  const text = `apiVersion: v1\nkind: Pod\nmetadata: {name: a, ${annotations}}\nspec: {${containers}${spec}}`
  expect(refusal(text)).toBe(message)
  expect(
    refusal(
      text.replace(/: (unconfined|localhost\/x)/, spec.includes('Localhost') ? ': localhost/z' : ': runtime/default'),
    ),
  ).toBe('')
})
