// Rules for probes and hooks refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofContainer } from './refusal.ts'

const path = 'spec.containers[0]'

describe('probes and hooks', () => {
  const probe = `${path}.livenessProbe`
  it.each([
    ['livenessProbe: {}', `${probe}: Required value: must specify a handler type`],
    [
      'livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}, grpc: {port: 1}}',
      `[${probe}.tcpSocket: Forbidden: may not specify more than 1 handler type, ${probe}.grpc: Forbidden: may not specify more than 1 handler type]`,
    ],
    ['livenessProbe: {exec: {}}', `${probe}.exec.command: Required value`],
    ['livenessProbe: {httpGet: {}}', `${probe}.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive`],
    [
      'livenessProbe: {httpGet: {port: 1, scheme: FTP}}',
      `${probe}.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"`,
    ],
    [
      "livenessProbe: {httpGet: {port: 1, httpHeaders: [{name: 'a b'}]}}",
      `${probe}.httpGet.httpHeaders: Invalid value: "a b": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')`,
    ],
    [
      "livenessProbe: {tcpSocket: {port: '80'}}",
      `${probe}.tcpSocket.port: Invalid value: "80": must contain at least one letter (a-z)`,
    ],
    ['livenessProbe: {grpc: {}}', `${probe}.grpc.port: Invalid value: 0: must be between 1 and 65535, inclusive`],
    [
      'livenessProbe: {tcpSocket: {port: 1}, initialDelaySeconds: -1}',
      `${probe}.initialDelaySeconds: Invalid value: -1: must be greater than or equal to 0`,
    ],
    [
      'livenessProbe: {tcpSocket: {port: 1}, timeoutSeconds: -1}',
      `${probe}.timeoutSeconds: Invalid value: -1: must be greater than or equal to 0`,
    ],
    [
      'livenessProbe: {tcpSocket: {port: 1}, periodSeconds: -1}',
      `${probe}.periodSeconds: Invalid value: -1: must be greater than or equal to 0`,
    ],
    [
      'livenessProbe: {tcpSocket: {port: 1}, failureThreshold: -1}',
      `${probe}.failureThreshold: Invalid value: -1: must be greater than or equal to 0`,
    ],
    [
      'livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2}',
      `${probe}.successThreshold: Invalid value: 2: must be 1`,
    ],
    [
      'startupProbe: {tcpSocket: {port: 1}, successThreshold: 2}',
      `${path}.startupProbe.successThreshold: Invalid value: 2: must be 1`,
    ],
    [
      'livenessProbe: {tcpSocket: {port: 1}, terminationGracePeriodSeconds: 0}',
      `${probe}.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0`,
    ],
    [
      'readinessProbe: {tcpSocket: {port: 1}, terminationGracePeriodSeconds: 1}',
      `${path}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes`,
    ],
    ['lifecycle: {postStart: {}}', `${path}.lifecycle.postStart: Required value: must specify a handler type`],
    [
      'lifecycle: {preStop: {sleep: {seconds: 31}}}',
      `${path}.lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)`,
    ],
  ])('%s', (fields, message) => expect(ofContainer(fields)).toBe(message))
})
