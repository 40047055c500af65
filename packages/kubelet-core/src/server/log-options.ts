// What part of a log is asked for.

/** Of v1.PodLogOptions; absent is not limited. */
export interface LogOptions {
  follow: boolean
  previous: boolean
  timestamps: boolean
  /** Lines before this are left out; milliseconds since the epoch. */
  sinceMs?: number
  tailLines?: number
  limitBytes?: number
  stream?: 'stdout' | 'stderr'
}

/** A query that is refused, as the kubelet does. */
export class LogOptionsError extends Error {
  override readonly name = 'LogOptionsError'
  readonly status: 400 | 422

  constructor(status: 400 | 422, message: string) {
    super(message)
    this.status = status
  }
}

/** @throws LogOptionsError */
export function parseLogOptions(query: URLSearchParams, nowMs: number): LogOptions {
  const tail = query.get('tail') || (query.get('tailLines') ?? undefined)
  const tailLines = tail === 'all' && query.has('tail') ? undefined : integer(tail)
  const sinceSeconds = integer(query.get('sinceSeconds') ?? undefined)
  const sinceTime = time(query.get('sinceTime') || undefined)
  const limitBytes = integer(query.get('limitBytes') ?? undefined)
  const stream = streamOf(query.get('stream') ?? 'All')
  const invalid =
    (tailLines ?? 0) < 0 ||
    (limitBytes ?? 1) < 1 ||
    (sinceSeconds ?? 1) < 1 ||
    (sinceSeconds !== undefined && sinceTime !== undefined) ||
    (stream !== undefined && tailLines !== undefined)
  if (invalid) throw new LogOptionsError(422, '{"message": "Invalid request."}')
  const sinceMs = sinceSeconds === undefined ? sinceTime : nowMs - sinceSeconds * 1000
  return {
    follow: boolean(query.get('follow')),
    previous: boolean(query.get('previous')),
    timestamps: boolean(query.get('timestamps')),
    ...(sinceMs === undefined ? {} : { sinceMs }),
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(limitBytes === undefined ? {} : { limitBytes }),
    ...(stream === undefined ? {} : { stream }),
  }
}

const undecodable = (): LogOptionsError => new LogOptionsError(400, '{"message": "Unable to decode query."}')

function integer(text: string | undefined): number | undefined {
  return text === undefined || text === '' ? undefined : decoded(integerOf(text))
}

function time(text: string | undefined): number | undefined {
  return text === undefined ? undefined : decoded(rfc3339Ms(text))
}

function decoded(value: number | undefined): number {
  if (value === undefined) throw undecodable()
  return value
}

/** Undefined for what is no integer. */
export const integerOf = (text: string): number | undefined => (/^[+-]?\d{1,15}$/.test(text) ? Number(text) : undefined)

/** A time of RFC 3339, in milliseconds since the epoch; undefined for what is none. */
export function rfc3339Ms(text: string): number | undefined {
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(ms) ? undefined : ms
}

/** As Go's conversion from a query: anything but these is true. */
function boolean(text: string | null): boolean {
  return text !== null && text !== '0' && text.toLowerCase() !== 'false'
}

function streamOf(text: string): 'stdout' | 'stderr' | undefined {
  if (text === 'Stdout') return 'stdout'
  if (text === 'Stderr') return 'stderr'
  if (text === 'All') return undefined
  throw new LogOptionsError(422, '{"message": "Invalid request."}')
}
