// Input from outside, checked at the edge: an error names whose it is, the field, what is wrong with it, and what is there.
import type { z } from 'zod'
import { CniError, cniCode } from './errors.ts'

/** How much of a value an error shows, in characters. */
const shownLength = 80

/**
 * @param whose the file or the plugin
 * @throws CniError
 */
export function checked<Schema extends z.ZodType>(
  whose: string,
  schema: Schema,
  value: unknown,
  code: number = cniCode.badConfig,
): z.output<Schema> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const [{ path, message } = { path: [], message: 'invalid' }] = parsed.error.issues
  const field = path.length > 0 ? `${path.join('.')}: ` : ''
  throw new CniError(code, `${whose}: ${field}${message}${given(value, path, message)}`)
}

/** @param whose the file or the plugin. @throws CniError */
export function parsedJson(whose: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new CniError(cniCode.decoding, `${whose}: ${(cause as Error).message}`, { cause })
  }
}

/** What is there instead, unless the message tells. */
function given(value: unknown, path: readonly PropertyKey[], message: string): string {
  const found = path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | null | undefined)?.[key], value)
  const isTold = [`: ${shown(found)}`, `: ${typeof found === 'string' ? found : ''}`].some((end) =>
    message.endsWith(end),
  )
  return found === undefined || isTold ? '' : `, not ${shown(found)}`
}

/** A value for messages. */
export function shown(value: unknown): string {
  try {
    return String(JSON.stringify(value)).slice(0, shownLength)
  } catch {
    return 'what is nested so deeply'
  }
}
