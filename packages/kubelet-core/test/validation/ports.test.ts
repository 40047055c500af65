// Rules for ports of containers refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofContainer, ofSpec } from './refusal.ts'

const path = 'spec.containers[0]'

describe('ports', () => {
  it.each([
    ['ports: [{}]', `${path}.ports[0].containerPort: Required value`],
    [
      'ports: [{containerPort: 65536}]',
      `${path}.ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive`,
    ],
    [
      'ports: [{containerPort: 1, hostPort: -1}]',
      `${path}.ports[0].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive`,
    ],
    [
      'ports: [{containerPort: 1, protocol: HTTP}]',
      `${path}.ports[0].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"`,
    ],
    [
      'ports: [{containerPort: 1, name: p}, {containerPort: 2, name: p}]',
      `${path}.ports[1].name: Duplicate value: "p"`,
    ],
    [
      'ports: [{containerPort: 80, hostPort: 80}, {containerPort: 81, hostPort: 80}]',
      `${path}.ports[1].hostPort: Duplicate value: "TCP//80"`,
    ],
    [
      'ports: [{containerPort: 1, name: much-too-long-a-name}]',
      `${path}.ports[0].name: Invalid value: "much-too-long-a-name": must be no more than 15 bytes`,
    ],
    [
      "ports: [{containerPort: 1, name: '1_'}]",
      `[${path}.ports[0].name: Invalid value: "1_": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), ${path}.ports[0].name: Invalid value: "1_": must contain at least one letter (a-z)]`,
    ],
    [
      'ports: [{containerPort: 1, name: -a--b}]',
      `[${path}.ports[0].name: Invalid value: "-a--b": must not contain consecutive hyphens, ${path}.ports[0].name: Invalid value: "-a--b": must not begin or end with a hyphen]`,
    ],
  ])('%s', (fields, message) => expect(ofContainer(fields)).toBe(message))
  it('those of the host are taken once by all containers', () =>
    expect(
      ofSpec(
        'containers: [{name: a, image: i, ports: [{containerPort: 1, hostPort: 9}]}, {name: b, image: i, ports: [{containerPort: 2, hostPort: 9}]}]',
      ),
    ).toBe('spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//9"'))
  it('are the same on the network of the host', () =>
    expect(ofContainer('ports: [{containerPort: 80, hostPort: 81}]', 'hostNetwork: true')).toBe(
      `${path}.ports[0].hostPort: Invalid value: 81: must match \`containerPort\` when \`hostNetwork\` is true`,
    ))
})
