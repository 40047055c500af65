// Manifests as static pods of this node. Pure.
import { createHash } from 'node:crypto'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { parseAllDocuments } from 'yaml'
import { z } from 'zod'
import { configHashAnnotation, seenAnnotation, sourceAnnotation } from '../pod/labels.ts'
import { defaultPullPolicy } from '../pod/image-reference.ts'
import { podResources } from '../resource/pod-resources.ts'
import { withDefaults } from './defaults.ts'

/** A manifest that is no static pod; the message names the field. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError'
}

const dnsLabel = z.string().regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'must be a DNS label')
const dnsName = z
  .string()
  .max(253)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/, 'must be a DNS name')
const image = z.string().superRefine((text, context) => {
  try {
    defaultPullPolicy(text)
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message })
  }
})
const container = z.looseObject({ name: dnsLabel, image })
const volume = z.looseObject({ name: dnsLabel })

/** What must hold before anything else is looked at; the rest is checked where it is used. */
const manifest = z.looseObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('Pod'),
  metadata: z.looseObject({
    name: dnsName,
    namespace: dnsLabel.optional(),
    uid: z
      .string()
      .regex(/^[A-Za-z0-9._-]+$/, 'must be usable as a file name')
      .optional(),
    labels: z.record(z.string(), z.string()).optional(),
    annotations: z.record(z.string(), z.string()).optional(),
  }),
  spec: z.looseObject({
    containers: z.array(container).min(1),
    initContainers: z.array(container).optional(),
    volumes: z.array(volume).optional(),
    restartPolicy: z.enum(['Always', 'OnFailure', 'Never']).optional(),
    terminationGracePeriodSeconds: z.number().int().min(0).optional(),
    hostNetwork: z.boolean().optional(),
  }),
})

export interface ManifestFacts {
  nodeName: string
  /** Where the manifest is, part of the pod's identity: the whole path of a file, or a URL. */
  origin: { path: string } | { url: string }
  /** Milliseconds since the epoch. */
  seenMs: number
}

/** The documents of a text, JSON or YAML; empty ones are left out. @throws ManifestError */
export function documentsOf(text: string): unknown[] {
  const documents = parseAllDocuments(text)
  // An empty text is an array with a property.
  const all = Array.isArray(documents) ? documents : []
  return all.flatMap((document) => {
    const [error] = document.errors
    if (error) throw new ManifestError(`neither JSON nor YAML: ${error.message.split('\n')[0]}`)
    const value: unknown = document.toJS()
    return value === null || value === undefined ? [] : [value]
  })
}

/** @param document as {@link documentsOf} gives it. @throws ManifestError */
export function staticPodOf(document: unknown, { nodeName, origin, seenMs }: ManifestFacts): Pod {
  const checked = manifest.safeParse(document)
  if (!checked.success) {
    const [issue] = checked.error.issues
    throw new ManifestError(`${issue?.path.join('.') || 'document'}: ${issue?.message}`)
  }
  const pod = checked.data as unknown as Pod
  refuseReferences(pod)
  refuseQuantities(pod)
  const place = 'path' in origin ? `host:${nodeName}file:${origin.path}` : `url:${origin.url}`
  const identity = createHash('md5').update(JSON.stringify(document)).update(place)
  const uid = pod.metadata?.uid ?? identity.digest('hex')
  const annotations = {
    ...pod.metadata?.annotations,
    [configHashAnnotation]: uid,
    [sourceAnnotation]: 'path' in origin ? 'file' : 'http',
    [seenAnnotation]: new Date(seenMs).toISOString(),
  }
  const { name = '', namespace = 'default' } = pod.metadata ?? {}
  const bearAll = { operator: 'Exists', effect: 'NoExecute' }
  const tolerations = [...(pod.spec?.tolerations ?? []), ...('path' in origin ? [bearAll] : [])]
  return withDefaults({
    ...pod,
    metadata: { ...pod.metadata, name: `${name}-${nodeName.toLowerCase()}`, namespace, uid, annotations },
    spec: { containers: [], ...pod.spec, nodeName, tolerations },
    status: { phase: 'Pending' },
  })
}

function refuseQuantities(pod: Pod): void {
  try {
    podResources(pod)
  } catch (error) {
    throw new ManifestError((error as Error).message)
  }
}

/** A static pod cannot use objects of the API: it must run without one. */
function refuseReferences({ spec }: Pod): void {
  const refuse = (kind: string): never => {
    throw new ManifestError(`static pods may not reference ${kind}`)
  }
  if (spec?.serviceAccountName) refuse('serviceaccounts')
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
  for (const { configMap, secret, persistentVolumeClaim, ephemeral, csi, projected } of spec?.volumes ?? []) {
    if (configMap) refuse('configmaps')
    if (secret) refuse('secrets')
    if (persistentVolumeClaim ?? ephemeral) refuse('persistentvolumeclaims')
    if (csi) refuse('csi volumes')
    if (projected?.sources?.some((source) => Object.keys(source).some((key) => key !== 'downwardAPI'))) {
      refuse('API objects in projected volumes')
    }
  }
}
