/** What a driver says of its work: an event in the past tense, and fields. pino's loggers are such. */
export interface Logger {
  debug(fields: object, event: string): void
  info(fields: object, event: string): void
  warn(fields: object, event: string): void
  error(fields: object, event: string): void
}

export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }

const secretFields = ['secrets', 'mountFlags']
const tokens = 'csi.storage.k8s.io/serviceAccount.tokens'

/** A request as it may be logged: what is secret, or may be, is only named. */
export function masked(request: unknown): unknown {
  if (Array.isArray(request)) return request.map(masked)
  if (typeof request !== 'object' || request === null) return request
  return Object.fromEntries(
    Object.entries(request).map(([key, value]) => {
      if (key === tokens) return [key, '<masked>']
      if (!secretFields.includes(key)) return [key, masked(value)]
      if (Array.isArray(value)) return [key, value.map(() => '<masked>')]
      return [key, Object.fromEntries(Object.keys((value ?? {}) as object).map((name) => [name, '<masked>']))]
    }),
  )
}
