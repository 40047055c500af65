// Rules for containers refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofContainer, ofInitContainer, ofSpec } from './refusal.ts'

const path = 'spec.containers[0]'

describe('containers', () => {
  it.each([
    ['containers: []', 'spec.containers: Required value'],
    ['containers: [{image: i}]', 'spec.containers[0].name: Required value'],
    ['containers: [{name: a}]', 'spec.containers[0].image: Required value'],
    ['containers: [{name: a.b, image: i}]', `spec.containers[0].name: Invalid value: "a.b": must not contain dots`],
    ['containers: [{name: a, image: i}, {name: a, image: i}]', 'spec.containers[1].name: Duplicate value: "a"'],
    [
      'containers: [{name: a, image: i}], initContainers: [{name: a, image: i}]',
      'spec.initContainers[0].name: Duplicate value: "a"',
    ],
    [
      "containers: [{name: a, image: ' i'}]",
      'spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace',
    ],
    ['ephemeralContainers: [{name: b, image: i}]', 'spec.ephemeralContainers: Forbidden: cannot be set on create'],
    [
      'containers: [null, {name: a, image: i}]',
      '[spec.containers[0].name: Required value, spec.containers[0].image: Required value]',
    ],
  ])('%s', (fields, message) => expect(ofSpec(fields)).toBe(message))

  it.each([
    [
      'imagePullPolicy: Sometimes',
      `${path}.imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"`,
    ],
    [
      'terminationMessagePolicy: Pipe',
      `${path}.terminationMessagePolicy: Unsupported value: "Pipe": supported values: "File", "FallbackToLogsOnError"`,
    ],
    [
      'restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]',
      `${path}.restartPolicy: Required value: must specify restartPolicy when restart rules are used`,
    ],
    [
      'restartPolicy: Maybe',
      `${path}.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "Never", "OnFailure"`,
    ],
    [
      `restartPolicy: Never, restartPolicyRules: [${Array.from({ length: 21 }, () => '{action: Restart, exitCodes: {operator: In}}').join(', ')}]`,
      `${path}.restartPolicyRules: Too many: 21: must have at most 20 items`,
    ],
    [
      'restartPolicy: Never, restartPolicyRules: [{action: Stop}]',
      `[${path}.restartPolicyRules[0].action: Unsupported value: "Stop": supported values: "Restart", "RestartAllContainers", ${path}.restartPolicyRules[0].exitCodes: Required value: must be specified]`,
    ],
    [
      `restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {values: [${Array.from({ length: 256 }, (_, code) => code).join(', ')}]}}]`,
      `[${path}.restartPolicyRules[0].exitCodes.operator: Unsupported value: "": supported values: "In", "NotIn", ${path}.restartPolicyRules[0].exitCodes.values: Too many: 256: must have at most 255 items]`,
    ],
    [
      'resizePolicy: [{resourceName: disk, restartPolicy: Maybe}, {restartPolicy: NotRequired}]',
      `[${path}.resizePolicy[0].resourceName: Unsupported value: "disk": supported values: "cpu", "memory", ${path}.resizePolicy[0].restartPolicy: Unsupported value: "Maybe": supported values: "NotRequired", "RestartContainer", ${path}.resizePolicy[1].resourceName: Required value]`,
    ],
    [
      'resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}, {resourceName: cpu, restartPolicy: NotRequired}]',
      `${path}.resizePolicy[1]: Duplicate value: "cpu"`,
    ],
  ])('%.80s', (fields, message) => expect(ofContainer(fields)).toBe(message))

  it('a pod that never restarts is resized without one', () =>
    expect(
      ofContainer('resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]', 'restartPolicy: Never'),
    ).toBe(
      `${path}.resizePolicy[0].restartPolicy: Invalid value: "RestartContainer": must be 'NotRequired' when pod \`restartPolicy\` is 'Never'`,
    ))

  it.each(['lifecycle: {}', 'livenessProbe: {}', 'readinessProbe: {}', 'startupProbe: {}'])(
    'an init container that ends has no %s',
    (field) =>
      expect(ofInitContainer(field)).toBe(
        `spec.initContainers[0].${field.split(':')[0]}: Forbidden: may not be set for init containers without restartPolicy=Always`,
      ),
  )
  it.each([
    [
      'resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]',
      'spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: "RestartContainer": must not be set to \'RestartContainer\' for non-sidecar initContainers',
    ],
    [
      'restartPolicy: Maybe',
      'spec.initContainers[0].restartPolicy: Unsupported value: "Maybe": supported values: "Always", "Never", "OnFailure"',
    ],
    [
      'ports: [{containerPort: 1, hostPort: 9}, {containerPort: 2, hostPort: 9}]',
      'spec.initContainers[0].ports[1].hostPort: Duplicate value: "TCP//9"',
    ],
    [
      'restartPolicy: Always, lifecycle: {preStop: {}}',
      'spec.initContainers[0].lifecycle.preStop: Required value: must specify a handler type',
    ],
    [
      'restartPolicy: Always, startupProbe: {}',
      'spec.initContainers[0].startupProbe: Required value: must specify a handler type',
    ],
  ])('init containers: %s', (fields, message) => expect(ofInitContainer(fields)).toBe(message))
})
