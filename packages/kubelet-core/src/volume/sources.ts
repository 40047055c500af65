// Collects the files of a volume from the objects that it refers to.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { PodCertificates } from '../certificate/pod-certificates.ts'
import type { ObjectSource } from '../objects.ts'
import type { Allocatable } from './downward.ts'
import { metadataField, resourceField } from './downward.ts'
import { cleanPath, commonUser, configMapData, keyFiles, secretData } from './payload.ts'
import type { Payload, PayloadFile } from './payload.ts'
import type { FileSource, FilesPlan } from './plan.ts'
import type { TokenCache } from './tokens.ts'
import { trustAnchors } from './trust-anchors.ts'

/** What sources are read from. */
export interface SourceContext {
  objects: Pick<ObjectSource, 'configMap' | 'secret' | 'trustBundles' | 'rereadMs'>
  clock: { now(): number }
  tokens: TokenCache
  /** None: gate PodCertificateRequest is off, or there is no API server. */
  certificates?: Pick<PodCertificates, 'get'> | undefined
  allocatable: Allocatable
}

/** The files, and when the first of them should be replaced: milliseconds since the epoch. */
export interface Collected {
  payload: Payload
  renewAt: number
}

/** @throws Error in upstream's words when an object or key is missing, or a path would leave the volume */
export async function collect(
  { name, sources, defaultMode }: FilesPlan,
  pod: Pod,
  context: SourceContext,
  signal?: AbortSignal,
): Promise<Collected> {
  const parts = await Promise.all(
    sources.map(async (source) => {
      if (source.kind === 'token') return tokenFile(source, defaultMode, pod, context, signal)
      if (source.kind === 'trustAnchors') {
        const data = trustAnchors(source.source, await context.objects.trustBundles(signal))
        return { files: new Map([[source.path, ownFile(data, defaultMode, pod)]]) }
      }
      if (source.kind === 'podCertificate') {
        return { files: await certificateFiles(source, { volume: name, defaultMode, pod, signal }, context) }
      }
      if (source.kind === 'downwardAPI') return { files: downwardFiles(source, defaultMode, pod, context) }
      const { clock, objects } = context
      return {
        files: await objectFiles(source, defaultMode, pod, context, signal),
        // Spread, as the syncs of pods are.
        renewAt: clock.now() + (objects.rereadMs ?? Infinity) * (1 + Math.random() / 2),
      }
    }),
  )
  const payload = new Map(parts.flatMap(({ files }) => [...files].map(([path, file]) => [cleanPath(path), file])))
  const renewals = parts.map((part) => ('renewAt' in part ? part.renewAt : Infinity))
  return { payload, renewAt: Math.min(Infinity, ...renewals) }
}

async function tokenFile(
  source: FileSource & { kind: 'token' },
  defaultMode: number,
  pod: Pod,
  { tokens }: SourceContext,
  signal?: AbortSignal,
): Promise<{ files: Map<string, PayloadFile>; renewAt: number }> {
  const { text, renewAt } = await tokens.get(pod, source, signal)
  return { files: new Map([[source.path, ownFile(Buffer.from(text), defaultMode, pod)]]), renewAt }
}

/** @throws Error in upstream's words while there is no certificate */
async function certificateFiles(
  { source, index }: FileSource & { kind: 'podCertificate' },
  {
    volume,
    defaultMode,
    pod,
    signal,
  }: { volume: string; defaultMode: number; pod: Pod; signal?: AbortSignal | undefined },
  { certificates }: SourceContext,
): Promise<Map<string, PayloadFile>> {
  if (!certificates)
    throw new Error('podCertificate projection needs an API server and the feature gate PodCertificateRequest')
  const { key, chain } = await certificates.get(pod, { volume, index }, source, signal)
  const files = [
    [source.credentialBundlePath, key + chain],
    [source.keyPath, key],
    [source.certificateChainPath, chain],
  ] as const
  return new Map(files.flatMap(([path, text]) => (path ? [[path, ownFile(Buffer.from(text), defaultMode, pod)]] : [])))
}

/** A file for the one user of the pod, or its group, if it has one. */
function ownFile(data: Buffer, defaultMode: number, pod: Pod): PayloadFile {
  const uid = commonUser(pod)
  const restricted = uid !== undefined || pod.spec?.securityContext?.fsGroup !== undefined
  return { data, mode: restricted ? 0o600 : defaultMode, ...(uid === undefined ? {} : { uid }) }
}

function downwardFiles(
  { items }: FileSource & { kind: 'downwardAPI' },
  defaultMode: number,
  pod: Pod,
  { allocatable }: SourceContext,
): Map<string, PayloadFile> {
  return new Map(
    items.map(({ path, mode = defaultMode, fieldRef, resourceFieldRef }) => {
      const text = fieldRef
        ? metadataField(pod, fieldRef)
        : resourceFieldRef
          ? resourceField(pod, resourceFieldRef, allocatable)
          : ''
      return [path, { data: Buffer.from(text), mode }]
    }),
  )
}

async function objectFiles(
  { kind, name, optional, items }: FileSource & { kind: 'ConfigMap' | 'Secret' },
  defaultMode: number,
  pod: Pod,
  { objects }: SourceContext,
  signal?: AbortSignal,
): Promise<Map<string, PayloadFile>> {
  const namespace = pod.metadata?.namespace ?? 'default'
  const data =
    kind === 'ConfigMap'
      ? await objects.configMap(namespace, name, signal).then((found) => found && configMapData(found))
      : await objects.secret(namespace, name, signal).then((found) => found && secretData(found))
  if (!data && !optional) throw new Error(`${kind.toLowerCase()} "${name}" not found`)
  return keyFiles(kind, data ?? new Map(), { optional, defaultMode, ...(items ? { items } : {}) })
}
