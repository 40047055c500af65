// Why a host did not give what was asked of it, and which of several hosts' reasons is told.
import { CriError } from '@nodelet/cri-api'

/** From least to most telling. */
const kinds = ['unreachable', 'missing', 'refused'] as const

/** One host's failure. */
export class RegistryFailure extends Error {
  override readonly name = 'RegistryFailure'
  /** `unreachable`: no answer came; `missing`: 404; `refused`: any other answer. */
  readonly kind: (typeof kinds)[number]
  /** Whether the same request may go better later. */
  readonly mayPass: boolean
  /** Milliseconds that the server asks to wait. */
  readonly retryAfter: number | undefined

  constructor(
    kind: RegistryFailure['kind'],
    message: string,
    {
      mayPass = false,
      retryAfter,
      cause,
    }: { mayPass?: boolean; retryAfter?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause })
    this.kind = kind
    this.mayPass = mayPass
    this.retryAfter = retryAfter
  }
}

const denied = 'pull access denied, repository does not exist or may require authorization'

/** The text for users without rights, who may not learn whether the repository exists. */
export const deniedFailure = (reason: string, cause?: unknown): RegistryFailure =>
  new RegistryFailure('refused', `${denied}: ${reason}`, { cause })

/** Prefix that kubelets show as the reason why a container waits. */
const unavailable = 'RegistryUnavailable'

/**
 * What all hosts' failures come to: one that answered says more than one that could not be reached.
 * @param doing what failed, for instance `failed to resolve reference "x"`
 */
export function failureOf(failures: readonly RegistryFailure[], doing: string): CriError {
  const rank = ({ kind }: RegistryFailure): number => kinds.indexOf(kind)
  const told = failures.toSorted((a, b) => rank(b) - rank(a))
  const [worst] = told
  if (!worst) return new CriError('NOT_FOUND', `${doing}: no host is configured that may serve it: not found`)
  const message = `${doing}: ${[...new Set(told.map((one) => one.message))].join('; ')}`
  if (worst.kind === 'unreachable') return new CriError('UNKNOWN', `${unavailable}: ${message}`, { cause: worst })
  return new CriError(worst.kind === 'missing' ? 'NOT_FOUND' : 'UNKNOWN', message, { cause: worst })
}

/** Prefixes by which clients know a failure: they stay in front whatever is said around it. */
const prefixPattern = /^(RegistryUnavailable|SignatureValidationFailed): /

/** A failure with what it was part of said before. */
export function within(what: string, error: unknown): CriError {
  const { message } = error as Error
  const prefix = prefixPattern.exec(message)?.[0] ?? ''
  const code = error instanceof CriError ? error.code : 'UNKNOWN'
  return new CriError(code, `${prefix}${what}: ${message.slice(prefix.length)}`, { cause: error })
}
