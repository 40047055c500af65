// How a call of a driver fails, and what that says of the volume.
import { type ServiceError, status } from '@grpc/grpc-js'

/** The gRPC status codes, by their names. */
export type CsiCode = Exclude<keyof typeof status, 'OK'>

/**
 * What a failed call leaves behind:
 * - `final`: the operation is over and did not happen;
 * - `uncertain`: it may go on or have happened, so call it again, and undo it before the volume is given up;
 * - `transient`: the driver was not asked, all is as it was.
 */
export type CsiErrorKind = 'final' | 'uncertain' | 'transient'

/** A failed call. The message reads as that of the Go kubelet, and never holds a secret of the request. */
export class CsiError extends Error {
  override readonly name = 'CsiError'
  /** What the driver answered; INTERNAL for an answer that makes no sense. */
  readonly code: CsiCode
  readonly kind: CsiErrorKind

  constructor(code: CsiCode, message: string, kind: CsiErrorKind) {
    super(message)
    this.code = code
    this.kind = kind
  }
}

/** Of whatever a call threw: what is not a `CsiError`, an aborted signal's reason for one, leaves the volume uncertain. */
export const csiErrorKind = (error: unknown): CsiErrorKind => (error instanceof CsiError ? error.kind : 'uncertain')

/** Codes of a driver that has not made up its mind. */
const notFinal: ReadonlySet<CsiCode> = new Set([
  'CANCELLED',
  'DEADLINE_EXCEEDED',
  'UNAVAILABLE',
  'RESOURCE_EXHAUSTED',
  'ABORTED',
])

/** What gRPC itself makes of a call whose answer was lost: the code then is not the driver's word. */
const lostAnswer =
  /^(Received (RST_STREAM|HTTP status code|message compressed)|No (message|status information) received|Write (error|failed))/

/** What gRPC itself says of a call that took too long; the Go kubelet has other words for it. */
const tookTooLong = /^Deadline exceeded after \d/

/** @param hide takes what is secret out of the driver's words */
export function csiErrorFrom({ code, details }: ServiceError, hide: (text: string) => string): CsiError {
  const name = codeName(code)
  const kind = notFinal.has(name) || lostAnswer.test(details) ? 'uncertain' : 'final'
  const words = name === 'DEADLINE_EXCEEDED' && tookTooLong.test(details) ? 'context deadline exceeded' : hide(details)
  return new CsiError(name, `rpc error: code = ${goCode(code)} desc = ${words}`, kind)
}

/** An answer of OK that makes no sense: what was asked for may be done. */
export const badAnswer = (rpc: string, problem: string): CsiError =>
  new CsiError('INTERNAL', `${rpc}: invalid answer: ${problem}`, 'uncertain')

/** A request that is not sent. */
export const badRequest = (field: string, problem: string): CsiError =>
  new CsiError('INVALID_ARGUMENT', `${field}: ${problem}`, 'transient')

/** There is nobody to ask, yet or any more. */
export const driverNotFound = (name: string): CsiError =>
  new CsiError('UNAVAILABLE', `driver name ${name} not found in the list of registered CSI drivers`, 'transient')

/** As Go prints it, in messages and in metrics: `DeadlineExceeded`. */
export function goCode(code: number): string {
  const name = status[code]
  if (name === undefined) return `Code(${code})`
  if (code === status.OK) return 'OK'
  if (code === status.CANCELLED) return 'Canceled'
  return name.toLowerCase().replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

/** Codes that gRPC does not know are UNKNOWN. */
function codeName(code: number): CsiCode {
  const name = status[code]
  return name === undefined || code === status.OK ? 'UNKNOWN' : (name as CsiCode)
}
