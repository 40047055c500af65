// Rules for the environment of containers refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofContainer } from './refusal.ts'
import { label } from './wording.ts'

const path = 'spec.containers[0]'

describe('environment', () => {
  const from = `${path}.env[0].valueFrom`
  const paths =
    '"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"'
  it.each([
    ['env: [{value: x}]', `${path}.env[0].name: Required value`],
    [
      'env: [{name: a=b}]',
      `${path}.env[0].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='`,
    ],
    [
      'env: [{name: a, valueFrom: {}}]',
      `${from}: Invalid value: "": must specify one of: \`fieldRef\`, \`resourceFieldRef\`, \`configMapKeyRef\`, \`secretKeyRef\` or \`fileKeyRef\``,
    ],
    [
      'env: [{name: a, value: b, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]',
      `${from}: Invalid value: "": may not be specified when \`value\` is not empty`,
    ],
    [
      'env: [{name: a, valueFrom: {fieldRef: {fieldPath: metadata.name}, resourceFieldRef: {resource: limits.cpu}}}]',
      `${from}: Invalid value: "": may not have more than one field specified at a time`,
    ],
    ['env: [{name: a, valueFrom: {fieldRef: {}}}]', `${from}.fieldRef.fieldPath: Required value`],
    [
      'env: [{name: a, valueFrom: {fieldRef: {apiVersion: v2, fieldPath: metadata.name}}}]',
      `${from}.fieldRef.fieldPath: Invalid value: "metadata.name": error converting fieldPath: unsupported pod version: v2`,
    ],
    [
      'env: [{name: a, valueFrom: {fieldRef: {fieldPath: spec.x}}}]',
      `${from}.fieldRef.fieldPath: Invalid value: "spec.x": error converting fieldPath: field label not supported: spec.x`,
    ],
    [
      'env: [{name: a, valueFrom: {fieldRef: {fieldPath: "metadata.name[\'a\']"}}}]',
      `${from}.fieldRef.fieldPath: Invalid value: "metadata.name['a']": error converting fieldPath: field label does not support subscript: metadata.name['a']`,
    ],
    [
      'env: [{name: a, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}]',
      `${from}.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: ${paths}`,
    ],
    [
      'env: [{name: a, valueFrom: {fieldRef: {fieldPath: "metadata.labels[\'/a\']"}}}]',
      `${from}.fieldRef.fieldPath: Invalid value: "/a": prefix part must be non-empty`,
    ],
    ['env: [{name: a, valueFrom: {resourceFieldRef: {}}}]', `${from}.resourceFieldRef.resource: Required value`],
    [
      'env: [{name: a, valueFrom: {resourceFieldRef: {resource: limits.disk}}}]',
      `${from}.resourceFieldRef.resource: Unsupported value: "limits.disk": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"`,
    ],
    [
      'env: [{name: a, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 2}}}]',
      `${from}.resourceFieldRef.divisor: Invalid value: "2": only divisor's values 1m and 1 are supported with the cpu resource`,
    ],
    [
      'env: [{name: a, valueFrom: {resourceFieldRef: {resource: limits.ephemeral-storage, divisor: 1m}}}]',
      `${from}.resourceFieldRef.divisor: Invalid value: "1m": only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource`,
    ],
    [
      'env: [{name: a, valueFrom: {fileKeyRef: {}}}]',
      `[${from}.fileKeyRef.key: Required value, ${from}.fileKeyRef.path: Required value, ${from}.fileKeyRef.volumeName: Required value]`,
    ],
    [
      'env: [{name: a, valueFrom: {fileKeyRef: {key: a=, path: ../x, volumeName: W}}}]',
      `[${from}.fileKeyRef.key: Invalid value: "a=": a valid environment variable name must consist only of printable ASCII characters other than '=', ${from}.fileKeyRef.path: Invalid value: "../x": must not contain '..', ${from}.fileKeyRef.volumeName: Invalid value: "W": ${label}, ${from}.fileKeyRef.volumeName: Not found: "W"]`,
    ],
    [
      'envFrom: [{prefix: a=}]',
      `[${path}.envFrom[0].prefix: Invalid value: "a=": a valid environment variable name must consist only of printable ASCII characters other than '=', ${path}.envFrom[0]: Invalid value: "": must specify one of: \`configMapRef\` or \`secretRef\`]`,
    ],
    [
      'envFrom: [{configMapRef: {name: a}, secretRef: {name: b}}]',
      `${path}.envFrom[0]: Invalid value: "": may not have more than one field specified at a time`,
    ],
  ])('%s', (fields, message) => expect(ofContainer(fields)).toBe(message))
  it('files are on an emptyDir', () =>
    expect(
      ofContainer(
        'env: [{name: a, valueFrom: {fileKeyRef: {key: a, path: x, volumeName: v}}}]',
        'volumes: [{name: v, hostPath: {path: /x}}]',
      ),
    ).toBe(`${from}.fileKeyRef.volumeName: Invalid value: "v": referenced volume must be of type emptyDir`))
})
