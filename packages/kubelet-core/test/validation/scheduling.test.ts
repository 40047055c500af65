// Rules for scheduling refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofSpec } from './refusal.ts'
import { labelKey, labelValue, subdomain } from './wording.ts'

describe('scheduling', () => {
  const node = 'spec.affinity.nodeAffinity'
  const hard = 'requiredDuringSchedulingIgnoredDuringExecution'
  const soft = 'preferredDuringSchedulingIgnoredDuringExecution'
  const term = `${node}.${hard}.nodeSelectorTerms[0]`
  const ofTerm = (fields: string): string =>
    ofSpec(`affinity: {nodeAffinity: {${hard}: {nodeSelectorTerms: [{${fields}}]}}}`)
  it.each([
    [
      'matchExpressions: [{key: a, operator: In}]',
      `${term}.matchExpressions[0].values: Required value: must be specified when \`operator\` is 'In' or 'NotIn'`,
    ],
    [
      'matchExpressions: [{key: a, operator: Exists, values: [b]}]',
      `${term}.matchExpressions[0].values: Forbidden: may not be specified when \`operator\` is 'Exists' or 'DoesNotExist'`,
    ],
    [
      "matchExpressions: [{key: a, operator: Gt, values: ['1', '2']}]",
      `${term}.matchExpressions[0].values: Required value: must be specified single value when \`operator\` is 'Lt' or 'Gt'`,
    ],
    [
      'matchExpressions: [{key: a, operator: Like}]',
      `${term}.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator`,
    ],
    [
      'matchExpressions: [{key: -a, operator: Exists}]',
      `${term}.matchExpressions[0].key: Invalid value: "-a": name part ${labelKey}`,
    ],
    [
      'matchExpressions: [{key: a, operator: In, values: [-b]}]',
      `${term}.matchExpressions[0].values[0]: Invalid value: "-b": ${labelValue}`,
    ],
    [
      'matchFields: [{key: metadata.uid, operator: Exists}]',
      `[${term}.matchFields[0].operator: Invalid value: "Exists": not a valid selector operator, ${term}.matchFields[0].key: Invalid value: "metadata.uid": not a valid field selector key]`,
    ],
    [
      'matchFields: [{key: metadata.name, operator: In, values: [A, b]}]',
      `[${term}.matchFields[0].values: Required value: must be only one value when \`operator\` is 'In' or 'NotIn' for node field selector, ${term}.matchFields[0].values[0]: Invalid value: "A": ${subdomain}]`,
    ],
  ])('nodes: %s', (fields, message) => expect(ofTerm(fields)).toBe(message))
  it.each([
    [
      `affinity: {nodeAffinity: {${hard}: {}}}`,
      `${node}.${hard}.nodeSelectorTerms: Required value: must have at least one node selector term`,
    ],
    [
      `affinity: {nodeAffinity: {${soft}: [{weight: 1, preference: {matchExpressions: [{key: a, operator: Like}]}}]}}`,
      `${node}.${soft}[0].preference.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator`,
    ],
    [
      `affinity: {podAffinity: {${hard}: [{topologyKey: a, mismatchLabelKeys: [k]}]}}`,
      `spec.affinity.podAffinity.${hard}[0].mismatchLabelKeys: Forbidden: must not be specified when labelSelector is not set`,
    ],
    [
      `affinity: {podAffinity: {${hard}: [{topologyKey: a, labelSelector: {}, matchLabelKeys: [-k]}]}}`,
      `spec.affinity.podAffinity.${hard}[0].matchLabelKeys[0]: Invalid value: "-k": name part ${labelKey}`,
    ],
    [
      `affinity: {podAffinity: {${hard}: [{topologyKey: a, labelSelector: {matchExpressions: [{key: a, operator: In, values: [-b]}]}}]}}`,
      `spec.affinity.podAffinity.${hard}[0].labelSelector.matchExpressions[0].values[0]: Invalid value: "-b": ${labelValue}`,
    ],
    [
      'topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule, matchLabelKeys: [k]}]',
      'spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set',
    ],
    [
      `affinity: {nodeAffinity: {${soft}: [{weight: 101}]}}`,
      `${node}.${soft}[0].weight: Invalid value: 101: must be in the range 1-100`,
    ],
    [
      `affinity: {podAffinity: {${hard}: [{}]}}`,
      `spec.affinity.podAffinity.${hard}[0].topologyKey: Required value: can not be empty`,
    ],
    [
      `affinity: {podAffinity: {${soft}: [{podAffinityTerm: {topologyKey: -a}}]}}`,
      `[spec.affinity.podAffinity.${soft}[0].weight: Invalid value: 0: must be in the range 1-100, spec.affinity.podAffinity.${soft}[0].podAffinityTerm.topologyKey: Invalid value: "-a": name part ${labelKey}]`,
    ],
    [
      `affinity: {podAntiAffinity: {${hard}: [{topologyKey: a, namespaces: [a.b], namespaceSelector: {matchLabels: {a: -b}}, labelSelector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}}]}}`,
      `[spec.affinity.podAntiAffinity.${hard}[0].labelSelector.matchExpressions[0].operator: Invalid value: "Gt": not a valid selector operator, spec.affinity.podAntiAffinity.${hard}[0].namespaceSelector.matchLabels: Invalid value: "-b": ${labelValue}, spec.affinity.podAntiAffinity.${hard}[0].namespaces[0]: Invalid value: "a.b": must not contain dots]`,
    ],
    [
      `affinity: {podAffinity: {${hard}: [{topologyKey: a, matchLabelKeys: [k]}]}}`,
      `spec.affinity.podAffinity.${hard}[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set`,
    ],
    [
      `affinity: {podAffinity: {${hard}: [{topologyKey: a, labelSelector: {}, matchLabelKeys: [k], mismatchLabelKeys: [k]}]}}`,
      `spec.affinity.podAffinity.${hard}[0].matchLabelKeys[0]: Invalid value: "k": exists in both matchLabelKeys and mismatchLabelKeys`,
    ],
    [
      'topologySpreadConstraints: [{}]',
      '[spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero, spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty, spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "": supported values: "DoNotSchedule", "ScheduleAnyway"]',
    ],
    [
      'topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway, minDomains: 0, nodeAffinityPolicy: Maybe, nodeTaintsPolicy: Maybe}]',
      '[spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero, spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway, spec.topologySpreadConstraints[0].nodeAffinityPolicy: Unsupported value: "Maybe": supported values: "Honor", "Ignore", spec.topologySpreadConstraints[0].nodeTaintsPolicy: Unsupported value: "Maybe": supported values: "Honor", "Ignore"]',
    ],
    [
      'topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}, {maxSkew: 2, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}]',
      'spec.topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}: Duplicate value: "{z, ScheduleAnyway}"',
    ],
    [
      'topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchExpressions: [{key: a, operator: NotIn}]}}]',
      "spec.topologySpreadConstraints[0].labelSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
    ],
    [
      'tolerations: [{}]',
      'spec.tolerations[0].operator: Invalid value: "": operator must be Exists when `key` is empty, which means "match all values and all keys"',
    ],
    [
      'tolerations: [{key: -a, operator: Exists}]',
      `spec.tolerations[0].key: Invalid value: "-a": name part ${labelKey}`,
    ],
    [
      'tolerations: [{key: a, operator: Exists, value: b}]',
      'spec.tolerations[0].value: Invalid value: "b": value must be empty when `operator` is \'Exists\'',
    ],
    ['tolerations: [{key: a, value: -b}]', `spec.tolerations[0].value: Invalid value: "-b": ${labelValue}`],
    [
      'tolerations: [{key: a, operator: Like}]',
      'spec.tolerations[0].operator: Unsupported value: "Like": supported values: "Equal", "Exists"',
    ],
    [
      "tolerations: [{key: a, operator: Gt, value: '01'}]",
      'spec.tolerations[0].value: Invalid value: "01": must be a valid decimal integer in canonical form',
    ],
    [
      'tolerations: [{key: a, operator: Exists, effect: Never}]',
      'spec.tolerations[0].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"',
    ],
    [
      'tolerations: [{key: a, operator: Exists, effect: NoSchedule, tolerationSeconds: 1}]',
      'spec.tolerations[0].effect: Invalid value: "NoSchedule": effect must be \'NoExecute\' when `tolerationSeconds` is set',
    ],
  ])('%.90s', (fields, message) => expect(ofSpec(fields)).toBe(message))
})
