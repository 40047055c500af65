// The error that a CRI call ends with, and its gRPC codes.
import { status } from '@grpc/grpc-js'

/** The gRPC status codes that CRI clients look at, by their names. */
export type CriCode = Exclude<keyof typeof status, 'OK'>

/** A failed CRI call. Match on `code`: kubelet treats NOT_FOUND as gone, and shows the message of UNKNOWN to users. */
export class CriError extends Error {
  override readonly name = 'CriError'
  readonly code: CriCode

  constructor(code: CriCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** Whether the object of a call is not there: idempotent steps go on. */
export function isNotFound(error: unknown): boolean {
  return error instanceof CriError && error.code === 'NOT_FOUND'
}

/** Whether the runtime does not offer the call at all. */
export function isUnimplemented(error: unknown): boolean {
  return error instanceof CriError && error.code === 'UNIMPLEMENTED'
}

/** The gRPC number of an error that a service threw; anything that is not a CriError is UNKNOWN, as in other runtimes. */
export function grpcStatusOf(error: unknown): { code: number; details: string } {
  if (error instanceof CriError) return { code: status[error.code], details: error.message }
  return { code: status.UNKNOWN, details: error instanceof Error ? error.message : String(error) }
}

/** A gRPC status as the error that callers see. */
export function criErrorFrom(failure: { code?: number; details?: string; message: string }): CriError {
  const name = failure.code === undefined ? undefined : status[failure.code]
  return new CriError((name ?? 'UNKNOWN') as CriCode, failure.details ?? failure.message, { cause: failure })
}
