// Rules for security contexts and namespaces refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofContainer, ofSpec } from './refusal.ts'

const path = 'spec.containers[0]'

describe('security contexts', () => {
  const at = `${path}.securityContext`
  const types = 'supported values: "Localhost", "RuntimeDefault", "Unconfined"'
  it.each([
    ['runAsUser: -1', `${at}.runAsUser: Invalid value: -1: must be between 0 and 4294967295, inclusive`],
    [
      'runAsGroup: 4294967296',
      `${at}.runAsGroup: Invalid value: 4294967296: must be between 0 and 4294967295, inclusive`,
    ],
    ['procMount: None', `${at}.procMount: Unsupported value: "None": supported values: "Default", "Unmasked"`],
    [
      'procMount: Unmasked',
      `${at}.procMount: Invalid value: "Unmasked": \`hostUsers\` must be false to use \`Unmasked\``,
    ],
    [
      'privileged: true, allowPrivilegeEscalation: false',
      `${at}: Invalid value: {"privileged":true,"allowPrivilegeEscalation":false}: cannot set \`allowPrivilegeEscalation\` to false and \`privileged\` to true`,
    ],
    [
      'allowPrivilegeEscalation: false, capabilities: {add: [CAP_SYS_ADMIN]}',
      `${at}: Invalid value: {"allowPrivilegeEscalation":false,"capabilities":{"add":["CAP_SYS_ADMIN"]}}: cannot set \`allowPrivilegeEscalation\` to false and \`capabilities.Add\` CAP_SYS_ADMIN`,
    ],
    ['seccompProfile: {}', `${at}.seccompProfile.type: Required value: type is required when seccompProfile is set`],
    ['seccompProfile: {type: None}', `${at}.seccompProfile.type: Unsupported value: "None": ${types}`],
    [
      'seccompProfile: {type: Localhost}',
      `${at}.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost`,
    ],
    [
      'seccompProfile: {type: Localhost, localhostProfile: /a}',
      `${at}.seccompProfile.localhostProfile: Invalid value: "/a": must be a relative path`,
    ],
    [
      'seccompProfile: {type: Unconfined, localhostProfile: a}',
      `${at}.seccompProfile.localhostProfile: Invalid value: "a": can only be set when seccomp type is Localhost`,
    ],
    ['appArmorProfile: {}', `${at}.appArmorProfile.type: Required value: type is required when appArmorProfile is set`],
    ['appArmorProfile: {type: None}', `${at}.appArmorProfile.type: Unsupported value: "None": ${types}`],
    [
      'appArmorProfile: {type: Localhost}',
      `${at}.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost`,
    ],
    [
      "appArmorProfile: {type: Localhost, localhostProfile: ' a'}",
      `${at}.appArmorProfile.localhostProfile: Invalid value: " a": must not be padded with whitespace`,
    ],
    [
      `appArmorProfile: {type: Localhost, localhostProfile: ${'a'.repeat(4096)}}`,
      `${at}.appArmorProfile.localhostProfile: Too long: may not be more than 4095 bytes`,
    ],
    [
      'appArmorProfile: {type: RuntimeDefault, localhostProfile: a}',
      `${at}.appArmorProfile.localhostProfile: Invalid value: "a": can only be set when AppArmor type is Localhost`,
    ],
    [
      "windowsOptions: {runAsUserName: ''}",
      `${at}.windowsOptions.runAsUserName: Invalid value: "": runAsUserName cannot be an empty string`,
    ],
  ])('%.80s', (fields, message) => expect(ofContainer(`securityContext: {${fields}}`)).toBe(message))
})
describe('security and namespaces', () => {
  const at = 'spec.securityContext'
  const sysctl =
    'must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$'
  const range = 'must be between 0 and 4294967295, inclusive'
  it.each([
    [
      'securityContext: {fsGroup: -1, runAsUser: -2, runAsGroup: -3}',
      `[${at}.fsGroup: Invalid value: -1: ${range}, ${at}.runAsUser: Invalid value: -2: ${range}, ${at}.runAsGroup: Invalid value: -3: ${range}]`,
    ],
    [
      'securityContext: {supplementalGroups: [0, 4294967296]}',
      `${at}.supplementalGroups[1]: Invalid value: 4294967296: ${range}`,
    ],
    ['securityContext: {sysctls: [{}]}', `${at}.sysctls[0].name: Required value`],
    ['securityContext: {sysctls: [{name: net..a}]}', `${at}.sysctls[0].name: Invalid value: "net..a": ${sysctl}`],
    [
      'securityContext: {sysctls: [{name: kernel.sem}, {name: kernel.sem}]}',
      `${at}.sysctls[1].name: Duplicate value: "kernel.sem"`,
    ],
    [
      'securityContext: {sysctls: [{name: net/core/somaxconn}]}, hostNetwork: true',
      `${at}.sysctls[0].name: Invalid value: "net/core/somaxconn": may not be specified when 'hostNetwork' is true`,
    ],
    [
      'securityContext: {sysctls: [{name: kernel.sem}]}, hostIPC: true',
      `${at}.sysctls[0].name: Invalid value: "kernel.sem": may not be specified when 'hostIPC' is true`,
    ],
    [
      'securityContext: {fsGroupChangePolicy: Never}',
      `${at}.fsGroupChangePolicy: Unsupported value: "Never": supported values: "Always", "OnRootMismatch"`,
    ],
    [
      'securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../x}}',
      `${at}.seccompProfile.localhostProfile: Invalid value: "../x": must not contain '..'`,
    ],
    [
      'securityContext: {appArmorProfile: {type: Localhost}}',
      `${at}.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost`,
    ],
    [
      'securityContext: {supplementalGroupsPolicy: All}',
      `${at}.supplementalGroupsPolicy: Unsupported value: "All": supported values: "Merge", "Strict"`,
    ],
    [
      'securityContext: {seLinuxChangePolicy: All}',
      `${at}.seLinuxChangePolicy: Unsupported value: "All": supported values: "MountOption", "Recursive"`,
    ],
    [
      'shareProcessNamespace: true, hostPID: true',
      'spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled',
    ],
    [
      'hostUsers: false, hostNetwork: true, hostPID: true, hostIPC: true',
      '[spec.hostNetwork: Forbidden: when `hostUsers` is false, spec.hostPID: Forbidden: when `hostUsers` is false, spec.hostIPC: Forbidden: when `hostUsers` is false]',
    ],
  ])('%s', (fields, message) => expect(ofSpec(fields)).toBe(message))
  it('devices of the host are not for a user namespace', () =>
    expect(
      ofContainer(
        'volumeDevices: [{name: v, devicePath: /dev/v}]',
        'hostUsers: false, volumes: [{name: v, ephemeral: {}}]',
      ),
    ).toBe('spec.containers[0].volumeDevices: Forbidden: when `hostUsers` is false'))
})
