// A signer of certificates for pods, as a cluster may have: an authority, one below it, and what it does with each request.
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { type KubeClient, type PodCertificateRequest, podCertificateRequests } from '@nodelet/kube-client'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto as unknown as Crypto)
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

export interface PodSigner extends AsyncDisposable {
  /** PEM of the authority that one trusts. */
  root: string
  /** What it has seen, in order. */
  seen: PodCertificateRequest[]
  /** What is done with the next requests; default: they are signed. */
  answer: 'issue' | 'deny' | 'fail' | 'wait'
}

const answers = {
  issue: ['Issued', 'Signed'],
  deny: ['Denied', 'UnsupportedKeyType'],
  fail: ['Failed', 'Broken'],
  wait: ['', ''],
} as const

export const signerName = 'example.com/pods'
const hourMs = 3_600_000
/** API times have no milliseconds. */
const seconds = (ms: number): Date => new Date(Math.floor(ms / 1000) * 1000)
const pem = (certificate: x509.X509Certificate): string => `${certificate.toString('pem').trim()}\n`

/** @param client of who may change the status of requests */
export async function startSigner(client: KubeClient): Promise<PodSigner> {
  const ending = new AbortController()
  const keys = async () => webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const [rootKeys, ownKeys] = [await keys(), await keys()]
  const notBefore = seconds(Date.now() - 60_000)
  const times = { notBefore, notAfter: seconds(Date.now() + 100 * hourMs), signingAlgorithm: algorithm }
  const ca = [new x509.BasicConstraintsExtension(true, undefined, true)]
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=root',
    keys: rootKeys,
    extensions: ca,
    ...times,
  })
  const own = await x509.X509CertificateGenerator.create({
    subject: 'CN=signer',
    issuer: root.subject,
    publicKey: ownKeys.publicKey,
    signingKey: rootKeys.privateKey,
    extensions: ca,
    ...times,
  })

  const issue = async ({ spec }: PodCertificateRequest) => {
    const request = new x509.Pkcs10CertificateRequest(Buffer.from(spec.stubPKCS10Request ?? '', 'base64'))
    const leaf = await x509.X509CertificateGenerator.create({
      subject: `CN=${spec.podName}`,
      issuer: own.subject,
      notBefore,
      notAfter: seconds(notBefore.getTime() + 2 * hourMs),
      signingAlgorithm: algorithm,
      publicKey: request.publicKey,
      signingKey: ownKeys.privateKey,
    })
    return {
      certificateChain: `${pem(leaf)}${pem(own)}`,
      notBefore: leaf.notBefore.toISOString(),
      notAfter: leaf.notAfter.toISOString(),
      beginRefreshAt: seconds(notBefore.getTime() + hourMs).toISOString(),
    }
  }
  const answer = async (request: PodCertificateRequest): Promise<void> => {
    const [type, reason] = answers[signer.answer]
    const message = `by the "${signer.answer}" rule`
    const conditions = [{ type, status: 'True', reason, message, lastTransitionTime: new Date().toISOString() }]
    const status = { ...(type === 'Issued' && (await issue(request))), conditions }
    await client.update(podCertificateRequests, { ...request, status }, { subresource: 'status' })
  }
  const work = async (): Promise<void> => {
    for await (const { type, object } of client.watch(podCertificateRequests, { signal: ending.signal })) {
      if (type !== 'ADDED') continue
      signer.seen.push(object)
      if (signer.answer !== 'wait') await answer(object)
    }
  }
  const signer: PodSigner = {
    root: pem(root),
    seen: [],
    answer: 'issue',
    async [Symbol.asyncDispose]() {
      ending.abort()
      await working
    },
  }
  const working = work().catch((error: unknown) => {
    if (!ending.signal.aborted) throw error
  })
  return signer
}
