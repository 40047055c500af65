// Rules for a pod as a whole refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofSpec } from './refusal.ts'
import { label, labelKey, labelValue, subdomain } from './wording.ts'

describe('policies and names', () => {
  it.each([
    [
      'restartPolicy: X',
      'spec.restartPolicy: Unsupported value: "X": supported values: "Always", "OnFailure", "Never"',
    ],
    [
      'dnsPolicy: X',
      'spec.dnsPolicy: Unsupported value: "X": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"',
    ],
    [
      'preemptionPolicy: X',
      'spec.preemptionPolicy: Unsupported value: "X": supported values: "PreemptLowerPriority", "Never"',
    ],
    [
      'terminationGracePeriodSeconds: -1',
      'spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0',
    ],
    [
      'activeDeadlineSeconds: 0',
      'spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive',
    ],
    ['hostname: A', `spec.hostname: Invalid value: "A": ${label}`],
    ['subdomain: a.b', 'spec.subdomain: Invalid value: "a.b": must not contain dots'],
    ['hostnameOverride: A', `spec.hostnameOverride: Invalid value: "A": ${subdomain}`],
    [`hostnameOverride: ${'a'.repeat(65)}`, 'spec.hostnameOverride: Too long: may not be more than 64 bytes'],
    [
      'hostnameOverride: a, setHostnameAsFQDN: true, hostNetwork: true',
      '[spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true, spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true]',
    ],
    ['serviceAccountName: A', `spec.serviceAccountName: Invalid value: "A": ${subdomain}`],
    ['priorityClassName: A', `spec.priorityClassName: Invalid value: "A": ${subdomain}`],
    ['runtimeClassName: A', `spec.runtimeClassName: Invalid value: "A": ${subdomain}`],
    ['nodeSelector: {a: -b}', `spec.nodeSelector: Invalid value: "-b": ${labelValue}`],
    [
      'readinessGates: [{}]',
      `[spec.readinessGates[0].conditionType: Invalid value: "": name part must be non-empty, spec.readinessGates[0].conditionType: Invalid value: "": name part ${labelKey}]`,
    ],
    [
      'schedulingGates: [{name: -g}]',
      `[spec.schedulingGates[0].name: Invalid value: "-g": name part ${labelKey}, spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared]`,
    ],
    [
      'schedulingGates: [{name: g}, {name: g}]',
      '[spec.schedulingGates[1].name: Duplicate value: "g", spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared]',
    ],
    [
      'overhead: {disk: 1}',
      '[spec.overhead[disk]: Invalid value: "disk": must be a standard resource type or fully qualified, spec.overhead[disk]: Invalid value: "disk": must be a standard resource for containers]',
    ],
    ['overhead: {hugepages-2Mi: 2Mi}', 'spec.overhead: Forbidden: HugePages require cpu or memory'],
    ['os: {}', 'spec.os.name: Required value'],
    ['os: {name: plan9}', 'spec.os.name: Unsupported value: "plan9": supported values: "linux", "windows"'],
  ])('%.80s', (fields, message) => expect(ofSpec(fields)).toBe(message))
})
