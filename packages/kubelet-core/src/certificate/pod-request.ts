// What a kubelet asks for a pod, and what a signer made of it. Pure.
import type { PodCertificateRequest } from '@nodelet/kube-client'
import type { Pod, VolumeProjection } from 'kubernetes-types/core/v1.d.ts'
import { certificatesIn, pemOf } from './pem.ts'
import type { PodKeyType } from './pod-key.ts'

/** PodSpec `volumes[].projected.sources[].podCertificate`: newer than the package of types. */
export interface PodCertificateProjection {
  /** Who is to sign. */
  signerName: string
  keyType: PodKeyType
  /** The longest that a certificate may last; default: as the API server says, a day. */
  maxExpirationSeconds?: number
  /** Where key and certificates go together. */
  credentialBundlePath?: string
  /** Where the key goes. */
  keyPath?: string
  /** Where the certificates go. */
  certificateChainPath?: string
  /** What the signer is told. */
  userAnnotations?: Record<string, string>
}

/** A source of a volume, with what is newer than the package of types. */
export type NewerProjection = VolumeProjection & { podCertificate?: PodCertificateProjection }

/** By whom and for what a certificate is asked. */
export interface RequestFacts {
  serviceAccountUID: string
  nodeName: string
  nodeUID: string
  /** PKCS#10, DER. */
  request: Buffer
}

export function podRequest(
  pod: Pod,
  { signerName, maxExpirationSeconds, userAnnotations }: PodCertificateProjection,
  { serviceAccountUID, nodeName, nodeUID, request }: RequestFacts,
): PodCertificateRequest {
  const { name = '', namespace = 'default', uid = '' } = pod.metadata ?? {}
  return {
    apiVersion: 'certificates.k8s.io/v1beta1',
    kind: 'PodCertificateRequest',
    // It goes with its pod. (The Go kubelet writes `core/v1`, which no collector finds.)
    metadata: { namespace, generateName: 'req-', ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name, uid }] },
    spec: {
      signerName,
      podName: name,
      podUID: uid,
      serviceAccountName: accountOf(pod),
      serviceAccountUID,
      nodeName,
      nodeUID,
      ...(maxExpirationSeconds !== undefined && { maxExpirationSeconds }),
      stubPKCS10Request: request.toString('base64'),
      ...(userAnnotations && { unverifiedUserAnnotations: userAnnotations }),
    },
  }
}

export const accountOf = ({ spec }: Pod): string => spec?.serviceAccountName ?? 'default'

export type Outcome =
  | {
      kind: 'issued'
      /** PEM. */
      chain: string
      /** Milliseconds since the epoch. */
      beginRefreshMs: number
      notAfterMs: number
    }
  | { kind: 'refused'; type: 'Denied' | 'Failed'; reason: string; message: string }

/** Undefined while nobody has decided. @throws Error naming a field that cannot be read */
export function outcomeOf({ status }: PodCertificateRequest): Outcome | undefined {
  for (const { type, reason, message } of status?.conditions ?? []) {
    if (type === 'Denied' || type === 'Failed') return { kind: 'refused', type, reason, message }
    if (type !== 'Issued') continue
    const { certificateChain = '', beginRefreshAt, notAfter } = status ?? {}
    const chain = certificatesIn(certificateChain)
    if (chain.length === 0) throw new Error('status.certificateChain has no certificate')
    return {
      kind: 'issued',
      chain: chain.map((der) => pemOf('CERTIFICATE', der)).join(''),
      beginRefreshMs: timeOf('status.beginRefreshAt', beginRefreshAt),
      notAfterMs: timeOf('status.notAfter', notAfter),
    }
  }
  return undefined
}

function timeOf(field: string, value: string | undefined): number {
  const ms = Date.parse(value ?? '')
  if (Number.isNaN(ms)) throw new Error(`${field} is ${JSON.stringify(value)}, which is no time`)
  return ms
}
