// Spans of time as tables show them.

const minute = 60
const hour = 60 * minute
const day = 24 * hour
const year = 365 * day

/** Seconds as `5s`, `3m20s`, `4d2h`: two units while the first is small. */
export function humanDuration(seconds: number): string {
  if (seconds < -1) return '<invalid>'
  if (seconds < 0) return '0s'
  const whole = Math.floor(seconds)
  const two = (value: number, big: number, bigName: string, small: number, smallName: string): string => {
    const rest = Math.floor((value % big) / small)
    return `${Math.floor(value / big)}${bigName}${rest > 0 ? `${rest}${smallName}` : ''}`
  }
  if (whole < 2 * minute) return `${whole}s`
  if (whole < 10 * minute) return two(whole, minute, 'm', 1, 's')
  if (whole < 3 * hour) return `${Math.floor(whole / minute)}m`
  if (whole < 8 * hour) return two(whole, hour, 'h', minute, 'm')
  if (whole < 2 * day) return `${Math.floor(whole / hour)}h`
  if (whole < 8 * day) return two(whole, day, 'd', hour, 'h')
  if (whole < 2 * year) return `${Math.floor(whole / day)}d`
  if (whole < 8 * year) return two(whole, year, 'y', day, 'd')
  return `${Math.floor(whole / year)}y`
}

/** Since a time as the API writes it. */
export function ageOf(timestamp: string | undefined, now: number): string {
  return timestamp === undefined ? '<unknown>' : humanDuration((now - Date.parse(timestamp)) / 1000)
}
