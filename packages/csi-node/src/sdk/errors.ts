// The error that a call of a driver ends with.
import { status } from '@grpc/grpc-js'
import type { CsiCode } from '../driver/csi-error.ts'

export type { CsiCode } from '../driver/csi-error.ts'

/**
 * A failed call. The code says what the caller does next: `ABORTED`, `UNAVAILABLE`, `RESOURCE_EXHAUSTED` and
 * `DEADLINE_EXCEEDED` leave the operation open and it is asked for again, or undone; all others end it, and nobody undoes it: what the
 * driver took, a loop device for instance, it gives back before it fails.
 */
export class CsiError extends Error {
  override readonly name = 'CsiError'
  readonly code: CsiCode

  constructor(code: CsiCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/** Characters of a message: it travels in a header, where one may take nine bytes, and a header has 64 KiB. */
const longest = 4096

/**
 * As gRPC carries it; whatever is no CsiError is INTERNAL. The message is never empty, as the specification asks, nor so long that
 * the call ended without a code.
 */
export function grpcStatusOf(error: unknown): { code: number; details: string } {
  const message = error instanceof Error ? error.message : String(error)
  const code = error instanceof CsiError ? error.code : 'INTERNAL'
  const details = message.length > longest ? `${message.slice(0, longest)} …` : message
  // Half of a character cannot be written.
  return { code: status[code], details: (details || code).toWellFormed() }
}
