// What of a request may be logged.
import { tokensKey } from '../tokens.ts'

const secretFields = ['secrets', 'mountFlags']

/** A request as it may be logged, also as JSON: what is secret, or may be, is only named. */
export function masked(request: unknown): unknown {
  if (Array.isArray(request)) return request.map(masked)
  if (typeof request === 'bigint') return Number(request)
  if (typeof request !== 'object' || request === null) return request
  return Object.fromEntries(
    Object.entries(request).map(([key, value]) => {
      if (key === tokensKey) return [key, '<masked>']
      if (!secretFields.includes(key)) return [key, masked(value)]
      if (Array.isArray(value)) return [key, value.map(() => '<masked>')]
      return [key, Object.fromEntries(Object.keys((value ?? {}) as object).map((name) => [name, '<masked>']))]
    }),
  )
}
