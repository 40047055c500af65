// The errors of this package: what the server refused, what never reached it, what a configuration lacks.

import type { Status, StatusDetails } from 'kubernetes-types/meta/v1.d.ts'

/** A refusal by the API server, made from its `Status` object. Match on `code` and `reason`, or with {@link isNotFound} and the like. */
export class StatusError extends Error {
  override readonly name = 'StatusError'
  /** HTTP status code, for instance 404. */
  readonly code: number
  /** Machine-readable reason, for instance `NotFound`; empty when the answer had none. */
  readonly reason: string
  /** What the refusal is about: kind, name, causes, `retryAfterSeconds`. */
  readonly details: StatusDetails

  constructor(tried: string, status: Status) {
    super(`${tried}: ${status.message ?? status.reason ?? 'refused without a message'}`)
    this.code = status.code ?? 0
    this.reason = status.reason ?? ''
    this.details = status.details ?? {}
  }
}

/** The request did not get an answer: no connection, a cut one, a timeout, TLS. `cause` has the transport's error. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError'
}

/** A kubeconfig, or a credential that it names, cannot be used. */
export class KubeconfigError extends Error {
  override readonly name = 'KubeconfigError'
}

/** Whether the object or the resource does not exist. */
export const isNotFound = (error: unknown): error is StatusError => error instanceof StatusError && error.code === 404

/** Whether a precondition failed: the object has changed since it was read, or its uid is another. */
export const isConflict = (error: unknown): error is StatusError =>
  error instanceof StatusError && error.code === 409 && error.reason !== 'AlreadyExists'

/** Whether an object of this name exists already. */
export const isAlreadyExists = (error: unknown): error is StatusError =>
  error instanceof StatusError && error.reason === 'AlreadyExists'

/** Whether the resourceVersion or the `continue` token is too old: list again. */
export const isGone = (error: unknown): error is StatusError => error instanceof StatusError && error.code === 410

/** Whether the resourceVersion is one that the server has not reached, for instance after its data was restored: list again. */
export const isVersionTooLarge = (error: unknown): error is StatusError =>
  error instanceof StatusError &&
  (error.details.causes ?? []).some(({ reason }) => reason === 'ResourceVersionTooLarge')

/** Whether the same request may succeed later: no answer, 429, or the server's own failure. */
export const isTransient = (error: unknown): error is StatusError | ConnectionError =>
  error instanceof ConnectionError || (error instanceof StatusError && (error.code === 429 || error.code >= 500))

/**
 * Reads an error answer.
 * @param tried what was tried on what, for instance `GET /api/v1/pods`
 */
export const statusErrorOf = (tried: string, code: number, body: string): StatusError => {
  let parsed: unknown
  try {
    parsed = JSON.parse(body)
  } catch {
    // Proxies and aggregated servers answer in plain text: the text is then the message.
  }
  if (typeof parsed === 'object' && parsed !== null && 'kind' in parsed && parsed.kind === 'Status') {
    return new StatusError(tried, { code, ...(parsed as Status) })
  }
  const text = body.trim().slice(0, 1024)
  return new StatusError(tried, { code, message: text === '' ? `HTTP status ${code}` : `HTTP status ${code}: ${text}` })
}
