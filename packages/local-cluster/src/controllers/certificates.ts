// Approves and signs requests for certificates.
import { certificateSigningRequests, isNotFound } from '@nodelet/kube-client'
import type { KubeClient } from '@nodelet/kube-client'
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.d.ts'
import type { Logger } from '../log.ts'
import type { KeyPair } from '../pki.ts'
import { type ParsedRequest, parseRequest, signRequest } from '../sign.ts'
import type { Caches } from './caches.ts'
import { createQueue } from './queue.ts'
import {
  clientSigner,
  kubeletClientSigner,
  kubeletServingSigner,
  signingProblem,
  unseenApproval,
} from './signing-rules.ts'

export interface CertificateOptions {
  client: KubeClient
  caches: Pick<Caches, 'certificateSigningRequests'>
  ca: KeyPair
  log: Logger | undefined
}

const signers = new Set([clientSigner, kubeletClientSigner, kubeletServingSigner])
/** A year, as the controller manager has it. */
const longestMs = 365 * 86_400_000
const keptMs = { judged: 3_600_000, pending: 86_400_000 }

export function startCertificates({ client, caches, ca, log }: CertificateOptions): AsyncDisposable {
  const cache = caches.certificateSigningRequests

  const judge = async (request: CertificateSigningRequest, type: string, reason: string, message: string) => {
    const conditions = [...(request.status?.conditions ?? []), { type, status: 'True', reason, message }]
    const subresource = type === 'Failed' ? 'status' : 'approval'
    await client.update(
      certificateSigningRequests,
      { ...request, status: { ...request.status, conditions } },
      { subresource },
    )
  }

  const work = async (name: string): Promise<void> => {
    const request = cache.get({ name })
    if (!request) return
    const has = (type: string): boolean => request.status?.conditions?.some((one) => one.type === type) ?? false
    const judged = request.status?.conditions?.map(({ lastUpdateTime }) => Date.parse(String(lastUpdateTime))) ?? []
    const sinceMs = Math.max(Date.parse(String(request.metadata?.creationTimestamp)), ...judged.filter((ms) => ms > 0))
    const ageMs = Date.now() - sinceMs
    const keepMs = judged.length > 0 ? keptMs.judged : keptMs.pending
    if (ageMs >= keepMs) {
      await client.delete(certificateSigningRequests, { name }).catch((error: unknown) => {
        if (!isNotFound(error)) throw error
      })
      return
    }
    queue.addAfter(name, keepMs - ageMs)
    const { signerName, usages = [], username = '', groups = [], expirationSeconds } = request.spec
    if (!signers.has(signerName) || has('Denied') || has('Failed') || request.status?.certificate) return
    let parsed: ParsedRequest
    try {
      parsed = await parseRequest(Buffer.from(request.spec.request, 'base64').toString('utf8'))
    } catch (error) {
      log?.debug({ err: error, request: name }, 'a request for a certificate cannot be read')
      return has('Approved') ? judge(request, 'Failed', 'SignerValidationFailure', (error as Error).message) : undefined
    }
    if (!has('Approved')) {
      const message = unseenApproval(signerName, parsed, { name: username, groups })
      if (message !== undefined && signingProblem(signerName, parsed, usages) === undefined) {
        await judge(request, 'Approved', 'AutoApproved', message)
      }
      return
    }
    const problem = signingProblem(signerName, parsed, usages)
    if (problem !== undefined) return judge(request, 'Failed', 'SignerValidationFailure', problem)
    const lifeMs = Math.min(longestMs, (expirationSeconds ?? Infinity) * 1000)
    const certificate = Buffer.from(await signRequest(parsed, ca, usages, lifeMs)).toString('base64')
    await client.update(
      certificateSigningRequests,
      { ...request, status: { ...request.status, certificate } },
      { subresource: 'status' },
    )
  }

  const queue = createQueue('certificates', work, log)
  const add = ({ metadata }: CertificateSigningRequest): void => queue.add(metadata?.name ?? '')
  const stop = cache.subscribe({ added: add, updated: add })
  return {
    [Symbol.asyncDispose]: async () => {
      stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
