// Manifests as static pods of this node. Pure.
import { createHash } from 'node:crypto'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { configHashAnnotation, seenAnnotation, sourceAnnotation } from '../pod/labels.ts'
import { decodePod } from '../validation/decode.ts'
import {
  aggregated,
  type FieldError,
  fieldErrorsText,
  invalid,
  required,
  unsupported,
} from '../validation/field-error.ts'
import { validatePod } from '../validation/pod.ts'
import { isPodUid } from '../volume/folders.ts'
import { withDefaults } from './defaults.ts'
import { ManifestError } from './manifest-error.ts'

export interface ManifestFacts {
  nodeName: string
  /** Where the manifest is, part of the pod's identity: the whole path of a file, or a URL. */
  origin: { path: string } | { url: string }
  /** Milliseconds since the epoch. */
  seenMs: number
  /** Told of fields that the API does not know: the pod is without them, as with the Go kubelet. */
  ignored?: (fields: readonly string[]) => void
}

/**
 * @param document as {@link documentsOf} gives it.
 * @throws ManifestError naming all fields that are wrong, with their values
 */
export function staticPodOf(document: unknown, { nodeName, origin, seenMs, ignored }: ManifestFacts): Pod {
  const written = decoded(document, ignored)
  const place = 'path' in origin ? `host:${nodeName}file:${origin.path}` : `url:${origin.url}`
  const identity = createHash('md5').update(JSON.stringify(document)).update(place)
  const { name = '', namespace = '', uid = '' } = written.metadata ?? {}
  const id = uid || identity.digest('hex')
  const annotations = {
    ...written.metadata?.annotations,
    [configHashAnnotation]: id,
    [sourceAnnotation]: 'path' in origin ? 'file' : 'http',
    [seenAnnotation]: new Date(seenMs).toISOString(),
  }
  const metadata = {
    ...written.metadata,
    name: name && `${name}-${nodeName.toLowerCase()}`,
    namespace: namespace || 'default',
    uid: id,
    annotations,
  }
  const bearAll = { operator: 'Exists', effect: 'NoExecute' }
  const tolerations = [...(written.spec?.tolerations ?? []), ...('path' in origin ? [bearAll] : [])]
  const spec = { containers: [], ...written.spec, nodeName, tolerations }
  const pod = withDefaults({ ...written, metadata, spec, status: { phase: 'Pending' } })
  const errors = validatePod(pod)
  if (!isPodUid(id) || id.length > longestUid) errors.push(invalid('metadata.uid', id, 'must be usable as a file name'))
  if (errors.length > 0) throw new ManifestError(fieldErrorsText(errors))
  refuseReferences(pod)
  return pod
}

const longestUid = 253

function decoded(document: unknown, ignored: ManifestFacts['ignored']): Pod {
  const { apiVersion, kind } = Object(document) as { apiVersion?: unknown; kind?: unknown }
  const errors = [...expected('apiVersion', apiVersion, 'v1'), ...expected('kind', kind, 'Pod')]
  if (errors.length > 0) throw new ManifestError(fieldErrorsText(errors))
  const { pod, faults, unknown } = decodePod(document)
  if (faults.length > 0) throw new ManifestError(aggregated(faults))
  if (unknown.length > 0) ignored?.(unknown)
  return pod
}

const expected = (field: string, value: unknown, only: string): FieldError[] =>
  value === only ? [] : [value ? unsupported(field, value, [only]) : required(field)]

/** A static pod cannot use objects of the API: it must run without one. */
function refuseReferences({ spec }: Pod): void {
  const refuse = (kind: string): never => {
    throw new ManifestError(`static pods may not reference ${kind}`)
  }
  if (spec?.serviceAccountName || spec?.serviceAccount) refuse('serviceaccounts')
  if (spec?.imagePullSecrets?.length) refuse('secrets')
  if (spec?.resourceClaims?.length) refuse('resourceclaims')
  for (const { env = [], envFrom = [] } of [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])]) {
    for (const { configMapRef, secretRef } of envFrom) {
      if (configMapRef) refuse('configmaps')
      if (secretRef) refuse('secrets')
    }
    for (const { valueFrom } of env) {
      if (valueFrom?.configMapKeyRef) refuse('configmaps')
      if (valueFrom?.secretKeyRef) refuse('secrets')
    }
  }
  for (const { configMap, secret, iscsi, persistentVolumeClaim, ephemeral, csi, projected } of spec?.volumes ?? []) {
    if (configMap) refuse('configmaps')
    if (secret ?? iscsi?.secretRef) refuse('secrets')
    if (persistentVolumeClaim ?? ephemeral) refuse('persistentvolumeclaims')
    if (csi) refuse('csi volumes')
    if (projected?.sources?.some((source) => Object.keys(source).some((key) => key !== 'downwardAPI'))) {
      refuse('API objects in projected volumes')
    }
  }
}
