// Durations as Go writes them: `1m30s`, `1.5h`, `300ms`.

const unitMs = new Map([
  ['ns', 1e-6],
  ['us', 1e-3],
  ['µs', 1e-3],
  ['μs', 1e-3],
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
])
const part = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y
/** Go counts nanoseconds in 63 bits: some 292 years. */
const longestMs = 2 ** 63 / 1e6

/**
 * Milliseconds; undefined when the text is no duration. A zero needs no unit.
 * @see Go time.ParseDuration
 */
export function durationMs(text: string): number | undefined {
  const [, sign, body = ''] = /^([+-]?)(.*)$/su.exec(text) ?? []
  if (body === '0') return 0
  let ms = 0
  let at = 0
  do {
    part.lastIndex = at
    const [piece, amount, unit] = part.exec(body) ?? []
    if (piece === undefined || unit === undefined) return undefined
    ms += Number(amount) * (unitMs.get(unit) ?? NaN)
    at += piece.length
  } while (at < body.length)
  if (ms >= longestMs) return undefined
  return sign === '-' ? -ms : ms
}

/** Of a duration that has been checked. */
export const checkedMs = (text: string): number => durationMs(text) ?? 0
