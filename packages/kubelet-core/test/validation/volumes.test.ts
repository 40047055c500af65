// Rules for volumes refuse, in the API server's words.
import { describe, expect, it } from 'vitest'
import { ofSpec } from './refusal.ts'
import { label } from './wording.ts'

const path = 'spec.volumes[0]'
const mode = 'must be a number between 0 and 0777 (octal), both inclusive'

describe('volumes', () => {
  it.each([
    ['{}', `${path}.name: Required value`],
    ['{name: a_b}', `${path}.name: Invalid value: "a_b": ${label}`],
    ['{name: v}, {name: v}', 'spec.volumes[1].name: Duplicate value: "v"'],
    [
      '{name: v, emptyDir: {}, hostPath: {path: /a}, nfs: {server: s, path: /p}}',
      `[${path}.hostPath: Forbidden: may not specify more than 1 volume type, ${path}.nfs: Forbidden: may not specify more than 1 volume type]`,
    ],
    [
      '{name: v, emptyDir: {sizeLimit: -1}}',
      `${path}.emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity`,
    ],
    ['{name: v, hostPath: {}}', `${path}.hostPath.path: Required value`],
    ['{name: v, hostPath: {path: /a/../b}}', `${path}.hostPath.path: Invalid value: "/a/../b": must not contain '..'`],
    [
      '{name: v, hostPath: {path: /a, type: Pipe}}',
      `${path}.hostPath.type: Unsupported value: "Pipe": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"`,
    ],
    ['{name: v, nfs: {}}', `[${path}.nfs.server: Required value, ${path}.nfs.path: Required value]`],
    ['{name: v, nfs: {server: s, path: p}}', `${path}.nfs.path: Invalid value: "p": must be an absolute path`],
    [
      '{name: v, image: {pullPolicy: Maybe}}',
      `[${path}.image.reference: Required value, ${path}.image.pullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never"]`,
    ],
    [
      '{name: v, iscsi: {chapAuthSession: true}}',
      `[${path}.iscsi.targetPortal: Required value, ${path}.iscsi.iqn: Required value, ${path}.iscsi.secretRef: Required value]`,
    ],
    [
      '{name: v, iscsi: {targetPortal: p, iqn: disk, lun: 256}}',
      `[${path}.iscsi.iqn: Invalid value: "disk": must be valid format starting with iqn, eui, or naa, ${path}.iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive]`,
    ],
    [
      '{name: v, iscsi: {targetPortal: p, iqn: eui.1, lun: 0, initiatorName: naa.1}}',
      `[${path}.iscsi.iqn: Invalid value: "eui.1": must be valid format, ${path}.iscsi.initiatorName: Invalid value: "naa.1": must be valid format]`,
    ],
    [
      `{name: v, iscsi: {targetPortal: ${'p'.repeat(63)}, iqn: eui.0123456789abcdef, lun: 0, initiatorName: eui.0123456789abcdef}}`,
      `${path}.name: Invalid value: "v": Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.`,
    ],
    ['{name: v, downwardAPI: {defaultMode: 01000}}', `${path}.downwardAPI.defaultMode: Invalid value: 512: ${mode}`],
    [
      '{name: v, downwardAPI: {items: [{mode: -1}]}}',
      `[${path}.downwardAPI.items[0].path: Required value, ${path}.downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef is required, ${path}.downwardAPI.items[0].mode: Invalid value: -1: ${mode}]`,
    ],
    [
      '{name: v, downwardAPI: {items: [{path: ..a, fieldRef: {fieldPath: metadata.name}, resourceFieldRef: {resource: limits.cpu}}]}}',
      `[${path}.downwardAPI.items[0].path: Invalid value: "..a": must not start with '..', ${path}.downwardAPI.items[0].resourceFieldRef.containerName: Required value, ${path}.downwardAPI.items[0]: Invalid value: "resource": fieldRef and resourceFieldRef can not be specified simultaneously]`,
    ],
    [
      '{name: v, downwardAPI: {items: [{path: /a, fieldRef: {fieldPath: spec.nodeName}}]}}',
      `[${path}.downwardAPI.items[0].path: Invalid value: "/a": must be a relative path, ${path}.downwardAPI.items[0].fieldRef.fieldPath: Unsupported value: "spec.nodeName": supported values: "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"]`,
    ],
    [
      '{name: v, downwardAPI: {items: [{path: a, resourceFieldRef: {containerName: a, resource: limits.gpu}}]}}',
      `${path}.downwardAPI.items[0].resourceFieldRef.resource: Unsupported value: "limits.gpu": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"`,
    ],
    [
      '{name: v, projected: {sources: [{downwardAPI: {items: [{path: a}]}}]}}',
      `${path}.projected.sources[0].downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef is required`,
    ],
    ['{name: v, projected: {defaultMode: 4096}}', `${path}.projected.defaultMode: Invalid value: 4096: ${mode}`],
    [
      '{name: v, projected: {sources: [{downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.name}}]}}, {downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.uid}}]}}]}}',
      `${path}.projected.sources[1].downwardAPI.items[0].path: Invalid value: "a": conflicting duplicate paths`,
    ],
    [
      '{name: v, projected: {sources: [{downwardAPI: {}, secret: {}}]}}',
      `${path}.projected.sources[0]: Forbidden: may not specify more than 1 volume type per source`,
    ],
  ])('%.90s', (volumes, message) => expect(ofSpec(`volumes: [${volumes}]`)).toBe(message))
})

describe('objects of the API', () => {
  it.each([
    ['serviceAccountName: x', 'serviceaccounts'],
    ['serviceAccount: x', 'serviceaccounts'],
    ['imagePullSecrets: [{name: s}]', 'secrets'],
    ['resourceClaims: [{name: c, resourceClaimName: x}]', 'resourceclaims'],
    ['containers: [{name: a, image: i, envFrom: [{configMapRef: {name: c}}]}]', 'configmaps'],
    ['containers: [{name: a, image: i, envFrom: [{secretRef: {name: c}}]}]', 'secrets'],
    [
      'containers: [{name: a, image: i, env: [{name: e, valueFrom: {configMapKeyRef: {name: c, key: k}}}]}]',
      'configmaps',
    ],
    ['containers: [{name: a, image: i, env: [{name: e, valueFrom: {secretKeyRef: {name: c, key: k}}}]}]', 'secrets'],
    ['volumes: [{name: v, configMap: {name: c}}]', 'configmaps'],
    ['volumes: [{name: v, secret: {secretName: s}}]', 'secrets'],
    [
      'volumes: [{name: v, iscsi: {targetPortal: p, iqn: eui.0123456789abcdef, lun: 0, secretRef: {name: s}}}]',
      'secrets',
    ],
    ['volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]', 'persistentvolumeclaims'],
    ['volumes: [{name: v, ephemeral: {}}]', 'persistentvolumeclaims'],
    ['volumes: [{name: v, csi: {driver: d}}]', 'csi volumes'],
    [
      'volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]',
      'API objects in projected volumes',
    ],
    [
      'volumes: [{name: v, projected: {sources: [{podCertificate: {signerName: a.b/c, keyType: ED25519, keyPath: k}}]}}]',
      'API objects in projected volumes',
    ],
  ])('%s', (fields, kind) => expect(ofSpec(fields)).toBe(`static pods may not reference ${kind}`))
})
