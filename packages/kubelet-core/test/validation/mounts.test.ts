// Rules for mounts and devices of containers refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofContainer } from './refusal.ts'

const path = 'spec.containers[0]'
const scratch = 'volumes: [{name: v, emptyDir: {}}]'

describe('mounts and devices', () => {
  const mount = `${path}.volumeMounts[0]`
  const device = `${path}.volumeDevices[0]`
  it.each([
    ['volumeMounts: [{}]', `[${mount}.name: Required value, ${mount}.mountPath: Required value]`],
    ['volumeMounts: [{name: w, mountPath: /w}]', `${mount}.name: Not found: "w"`],
    [
      'volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v}]',
      `${path}.volumeMounts[1].mountPath: Invalid value: "/v": must be unique`,
    ],
    [
      'volumeMounts: [{name: v, mountPath: /v, subPath: /a}]',
      `${mount}.subPath: Invalid value: "/a": must be a relative path`,
    ],
    [
      'volumeMounts: [{name: v, mountPath: /v, subPath: a/../b}]',
      `${mount}.subPath: Invalid value: "a/../b": must not contain '..'`,
    ],
    [
      'volumeMounts: [{name: v, mountPath: /v, subPath: a, subPathExpr: ../b}]',
      `[${mount}.subPathExpr: Invalid value: "../b": subPathExpr and subPath are mutually exclusive, ${mount}.subPathExpr: Invalid value: "../b": must not contain '..']`,
    ],
    [
      'volumeMounts: [{name: v, mountPath: /v, mountPropagation: Both}]',
      `${mount}.mountPropagation: Unsupported value: "Both": supported values: "Bidirectional", "HostToContainer", "None"`,
    ],
    [
      'volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]',
      `${mount}.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers`,
    ],
    [
      'volumeMounts: [{name: v, mountPath: /v, recursiveReadOnly: Enabled}]',
      `${mount}.recursiveReadOnly: Forbidden: may only be specified when readOnly is true`,
    ],
    [
      'volumeMounts: [{name: v, mountPath: /v, readOnly: true, mountPropagation: HostToContainer, recursiveReadOnly: IfPossible}]',
      `${mount}.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified`,
    ],
    [
      'volumeMounts: [{name: v, mountPath: /v, recursiveReadOnly: Maybe}]',
      `${mount}.recursiveReadOnly: Unsupported value: "Maybe": supported values: "Disabled", "Enabled", "IfPossible"`,
    ],
    ['volumeDevices: [{}]', `[${device}.name: Required value, ${device}.devicePath: Required value]`],
    ['volumeDevices: [{name: w, devicePath: /dev/w}]', `${device}.name: Not found: "w"`],
    [
      'volumeDevices: [{name: v, devicePath: /dev/../w}]',
      `[${device}.name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode, ${device}.devicePath: Invalid value: "/dev/../w": must not contain '..']`,
    ],
    [
      'volumeMounts: [{name: v, mountPath: /v}], volumeDevices: [{name: v, devicePath: /v}]',
      `[${mount}.name: Invalid value: "v": must not already exist in volumeDevices, ${mount}.mountPath: Invalid value: "/v": must not already exist as a path in volumeDevices, ${device}.name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode, ${device}.name: Invalid value: "v": must not already exist in volumeMounts, ${device}.devicePath: Invalid value: "/v": must not already exist as a path in volumeMounts]`,
    ],
  ])('%s', (fields, message) => expect(ofContainer(fields, scratch)).toBe(message))
  it('a device is there once', () =>
    expect(
      ofContainer(
        'volumeDevices: [{name: v, devicePath: /dev/v}, {name: v, devicePath: /dev/v}]',
        'volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]',
      ),
    ).toBe(
      `[${path}.volumeDevices[1].name: Invalid value: "v": must be unique, ${path}.volumeDevices[1].devicePath: Invalid value: "/dev/v": must be unique]`,
    ))
})
