// Rules for pods of Windows refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofSpec } from './refusal.ts'
import { subdomain } from './wording.ts'

describe('windows', () => {
  const options = 'spec.securityContext.windowsOptions'
  const user = (detail: string, written: string): string =>
    `${options}.runAsUserName: Invalid value: ${JSON.stringify(written)}: ${detail}`
  it.each([
    [
      'os: {name: linux}, securityContext: {windowsOptions: {}}',
      `${options}: Forbidden: windows options cannot be set for a linux pod`,
    ],
    [
      'os: {name: linux}, containers: [{name: a, image: i, securityContext: {windowsOptions: {}}}]',
      'spec.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod',
    ],
    [
      'os: {name: windows}, hostPID: true, hostUsers: true',
      '[spec.hostPID: Forbidden: cannot be set for a windows pod, spec.hostUsers: Forbidden: cannot be set for a windows pod]',
    ],
    [
      'os: {name: windows}, securityContext: {fsGroup: 1}',
      'spec.securityContext.fsGroup: Forbidden: cannot be set for a windows pod',
    ],
    [
      'os: {name: windows}, containers: [{name: a, image: i, securityContext: {privileged: false}}]',
      'spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod',
    ],
    [
      'securityContext: {windowsOptions: {gmsaCredentialSpecName: A}}',
      `${options}.gmsaCredentialSpecName: Invalid value: "A": ${subdomain}`,
    ],
    [
      `securityContext: {windowsOptions: {gmsaCredentialSpec: ${'x'.repeat(65_537)}}}`,
      `${options}.gmsaCredentialSpec: Invalid value: "${'x'.repeat(65_537)}": gmsaCredentialSpec size must be under 64 KiB`,
    ],
    [
      "securityContext: {windowsOptions: {gmsaCredentialSpec: ''}}",
      `${options}.gmsaCredentialSpec: Invalid value: "": gmsaCredentialSpec cannot be an empty string`,
    ],
    ["securityContext: {windowsOptions: {runAsUserName: ''}}", user('runAsUserName cannot be an empty string', '')],
    [
      'securityContext: {windowsOptions: {runAsUserName: "a\\tb"}}',
      user('runAsUserName cannot contain control characters', 'a\tb'),
    ],
    [
      "securityContext: {windowsOptions: {runAsUserName: 'a\\b\\c'}}",
      user('runAsUserName cannot contain more than one backslash', 'a\\b\\c'),
    ],
    ["securityContext: {windowsOptions: {runAsUserName: 'a\\'}}", user("runAsUserName's User cannot be empty", 'a\\')],
    [
      "securityContext: {windowsOptions: {runAsUserName: '.a:b\\c'}}",
      user("runAsUserName's Domain doesn't match the NetBios nor the DNS format", '.a:b\\c'),
    ],
    [
      "securityContext: {windowsOptions: {runAsUserName: '. .'}}",
      user("runAsUserName's User cannot contain only periods or spaces", '. .'),
    ],
    [
      "securityContext: {windowsOptions: {runAsUserName: 'a;b'}}",
      user('runAsUserName\'s User cannot contain the following characters: "/\\:;|=,+*?<>@[]', 'a;b'),
    ],
    [
      `securityContext: {windowsOptions: {runAsUserName: ${'u'.repeat(105)}}}`,
      user("runAsUserName's User length must not be longer than 104 characters", 'u'.repeat(105)),
    ],
    [
      'securityContext: {windowsOptions: {hostProcess: true}}',
      'spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers',
    ],
    [
      'hostNetwork: true, containers: [{name: a, image: i, securityContext: {windowsOptions: {hostProcess: true}}}, {name: b, image: i}]',
      'spec: Invalid value: "": If pod contains any hostProcess containers then all containers must be HostProcess containers',
    ],
    [
      'hostNetwork: true, securityContext: {windowsOptions: {hostProcess: false}}, containers: [{name: a, image: i, securityContext: {windowsOptions: {hostProcess: true}}}]',
      'spec.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: true: pod hostProcess value must be identical if both are specified, was false',
    ],
  ])('%.90s', (fields, message) => expect(ofSpec(fields)).toBe(message))
})
