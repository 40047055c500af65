// Durations as Go writes them: `1m30s`, `1.5h`, `300ms`.

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}
const part = String.raw`(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)`

/**
 * Milliseconds; a plain `0` is fine without a unit.
 * @throws RangeError naming field and value
 * @see Go time.ParseDuration
 */
export function parseDuration(text: string, field = 'duration'): number {
  const sign = text.startsWith('-') ? -1 : 1
  const body = text.replace(/^[+-]/, '')
  if (body === '0') return 0
  if (!new RegExp(`^(${part})+$`, 'u').test(body)) {
    throw new RangeError(`${field}: ${JSON.stringify(text)} is not a duration; write for instance 90s, 1m30s or 300ms`)
  }
  let ms = 0
  for (const [, amount, unit] of body.matchAll(new RegExp(part, 'gu'))) ms += Number(amount) * (unitMs[unit ?? ''] ?? 0)
  return sign * ms
}
