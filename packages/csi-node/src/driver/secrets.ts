// Keeps what a request holds in confidence out of what a driver says about it.
import { tokensKey } from '../tokens.ts'

export interface Confidential {
  readonly secrets?: Readonly<Record<string, string>> | undefined
  readonly volumeContext?: Readonly<Record<string, string>> | undefined
}

/** A function that puts `<masked>` for each secret and service account token of the request. */
export function hideSecrets({ secrets = {}, volumeContext = {} }: Confidential): (text: string) => string {
  const values = [
    ...Object.values(secrets),
    ...[secrets[tokensKey], volumeContext[tokensKey]].flatMap((json) =>
      json === undefined ? [] : [json, ...tokensOf(json)],
    ),
  ]
  // Drivers quote, and drop a last newline. The longer first: one may hold another.
  const forms = values.flatMap((value) => [value, value.trim()]).flatMap((value) => [value, quoted(value)])
  const hidden = [...new Set(forms)].filter((form) => form !== '').toSorted((a, b) => b.length - a.length)
  if (hidden.length === 0) return (text) => text
  const any = new RegExp(hidden.map(literal).join('|'), 'g')
  return (text) => text.replace(any, '<masked>')
}

/** For a pattern. */
const literal = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&')

const quoted = (value: string): string => JSON.stringify(value).slice(1, -1)

/** Of `{AUDIENCE: {token, expirationTimestamp}}`. */
function tokensOf(json: string): string[] {
  try {
    const audiences = Object.values(JSON.parse(json) as Record<string, { token?: unknown } | null>)
    return audiences.flatMap((one) => (typeof one?.token === 'string' ? one.token : []))
  } catch {
    return [] // Not what it says it is: hidden as a whole.
  }
}
