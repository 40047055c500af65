// A certificate asked of the API server: a CertificateSigningRequest, and the wait for what becomes of it.
import { createHash, createPublicKey } from 'node:crypto'
import { certificateSigningRequests, isAlreadyExists, type KubeClient } from '@nodelet/kube-client'
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.d.ts'
import { makeRequest, type Subject } from './x509.ts'

/** What a kubelet asks certificates for. */
export interface Signing {
  signerName: string
  usages: readonly string[]
}

export const clientSigning: Signing = {
  signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
  usages: ['digital signature', 'client auth'],
}
export const servingSigning: Signing = {
  signerName: 'kubernetes.io/kubelet-serving',
  usages: ['digital signature', 'server auth'],
}

/** The subject that every certificate of a node has. */
export const nodeSubject = (nodeName: string, hosts: readonly string[] = []): Subject => ({
  commonName: `system:node:${nodeName}`,
  organization: 'system:nodes',
  hosts,
})

/**
 * The name of a request that is the same as long as the key is: a kubelet that starts again goes on with it.
 * @param key PEM
 */
export function requestName(key: string, { commonName, organization }: Subject, usages: readonly string[]): string {
  const hash = createHash('sha512-256')
  hash.update(createPublicKey(key).export({ type: 'spki', format: 'der' }).toString('base64url')).update('|')
  for (const part of [commonName, organization, ...usages]) {
    hash.update(Buffer.from(part).toString('base64url')).update('|')
  }
  return `node-csr-${hash.digest('base64url')}`
}

export interface SigningWish extends Signing {
  client: Pick<KubeClient, 'create' | 'get' | 'watch'>
  /** PEM. */
  key: string
  subject: Subject
  /** Undefined: one is made up by the server, beginning with `csr-`. */
  name?: string | undefined
  signal: AbortSignal
}

/**
 * Waits for the certificate.
 * @returns PEM
 * @throws Error when it is denied or cannot be signed; the reason of the signal; what the API server says
 */
export async function requestCertificate(wish: SigningWish): Promise<string> {
  const { client, signal } = wish
  const name = (await post(wish)).metadata?.name ?? ''
  const events = client.watch(certificateSigningRequests, { fieldSelector: `metadata.name=${name}`, signal })
  for await (const event of events) {
    if (event.type === 'DELETED') throw new Error(`certificate signing request ${name} was deleted`)
    const certificate = 'object' in event ? outcomeOf(event.object, name) : undefined
    if (certificate !== undefined) return certificate
  }
  signal.throwIfAborted()
  throw new Error(`certificate signing request ${name}: the watch has ended`)
}

async function post({ client, key, subject, name, signerName, usages, signal }: SigningWish) {
  const request: CertificateSigningRequest = {
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'CertificateSigningRequest',
    metadata: name === undefined ? { generateName: 'csr-' } : { name },
    spec: {
      request: Buffer.from(await makeRequest(key, subject)).toString('base64'),
      signerName,
      usages: [...usages],
    },
  }
  try {
    return await client.create(certificateSigningRequests, request, { signal })
  } catch (error) {
    if (name === undefined || !isAlreadyExists(error)) throw error
    // Its name says that it is for this key.
    return client.get(certificateSigningRequests, { name }, { signal })
  }
}

/** Undefined while nobody has decided. */
function outcomeOf({ status }: CertificateSigningRequest, name: string): string | undefined {
  for (const type of ['Denied', 'Failed']) {
    const found = status?.conditions?.find((one) => one.type === type)
    if (!found) continue
    const what = type === 'Denied' ? 'is denied' : 'failed'
    const { reason = '', message = '' } = found
    throw new Error(`certificate signing request ${name} ${what}, reason: "${reason}", message: "${message}"`)
  }
  return status?.certificate ? Buffer.from(status.certificate, 'base64').toString('utf8') : undefined
}
