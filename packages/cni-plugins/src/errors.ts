// CNI errors. @see CNI spec 1.1, section "Error"

/** The codes of the specification that we use. */
export const cniCode = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  badEnvironment: 4,
  io: 5,
  decoding: 6,
  badConfig: 7,
  badNetns: 8,
  tryAgain: 11,
  notAvailable: 50,
  limited: 51,
  internal: 999,
} as const

/** A failure as plugins print it. */
export class CniError extends Error {
  override readonly name = 'CniError'
  readonly code: number
  readonly details: string | undefined
  /** The message without the details. */
  readonly msg: string

  constructor(code: number, message: string, options: { details?: string | undefined; cause?: unknown } = {}) {
    super(options.details ? `${message}: ${options.details}` : message, { cause: options.cause })
    this.code = code
    this.details = options.details
    this.msg = message
  }
}

/** Also one of another copy of this package: a plugin may have brought its own. */
export const isCniError = (error: unknown): error is CniError =>
  error instanceof CniError ||
  (error instanceof Error && error.name === 'CniError' && Number.isInteger((error as Partial<CniError>).code))
