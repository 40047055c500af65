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

/**
 * The same duration as Go writes it: `1h30m0s`, `1.5s`, `300ms`.
 * @see Go Duration.String
 */
export function durationText(text: string): string {
  const ms = checkedMs(text)
  const sign = ms < 0 ? '-' : ''
  const ns = Math.round(Math.abs(ms) * 1e6)
  if (ns === 0) return '0s'
  const small = smallUnits.find(([, size]) => ns < size * 1000)
  if (small) return `${sign}${ns / small[1]}${small[0]}`
  const seconds = Math.floor(ns / 1e9)
  const [h, m] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60]
  const fraction = `.${String(ns % 1e9).padStart(9, '0')}`.replace(/\.?0*$/, '')
  return `${sign}${h > 0 ? `${h}h` : ''}${seconds >= 60 ? `${m}m` : ''}${seconds % 60}${fraction}s`
}

/** Units below a second, in nanoseconds. */
const smallUnits = [
  ['ns', 1],
  ['µs', 1e3],
  ['ms', 1e6],
] as const

/** Of a duration that has been checked. */
export const checkedMs = (text: string): number => durationMs(text) ?? 0
