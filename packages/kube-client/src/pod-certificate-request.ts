// A kind that is newer than the package of types: `certificates.k8s.io/v1beta1 PodCertificateRequest` of Kubernetes 1.36.
import type { Condition, ObjectMeta } from 'kubernetes-types/meta/v1.d.ts'

/** A kubelet asks a signer for a certificate of a pod. */
export interface PodCertificateRequest {
  apiVersion?: string
  kind?: string
  metadata?: ObjectMeta
  spec: PodCertificateRequestSpec
  status?: PodCertificateRequestStatus
}

/** None of it changes once it is made. */
export interface PodCertificateRequestSpec {
  /** Who is to sign, for instance `example.com/internal`. */
  signerName: string
  podName: string
  podUID: string
  serviceAccountName: string
  serviceAccountUID: string
  nodeName: string
  nodeUID: string
  /** The longest that the certificate may last, 3600 to 7862400; default 86400. */
  maxExpirationSeconds?: number
  /** PKCS#10 without a subject, DER in base64: it has the key, and its signature shows that who asks has the private one. */
  stubPKCS10Request?: string
  /** Deprecated: the key, SPKI in base64. Either these two or `stubPKCS10Request`. */
  pkixPublicKey?: string
  /** Deprecated: the UID of the pod, signed by the key, in base64. */
  proofOfPossession?: string
  /** What the pod tells the signer, which nobody has checked. */
  unverifiedUserAnnotations?: Record<string, string>
}

export interface PodCertificateRequestStatus {
  /** One of type `Issued`, `Denied` or `Failed`, with status `True`. Once it is there nothing changes any more. */
  conditions?: Condition[]
  /** PEM: the pod's own first. */
  certificateChain?: string
  notBefore?: string
  /** When the kubelet is to ask for the next one. */
  beginRefreshAt?: string
  notAfter?: string
}
