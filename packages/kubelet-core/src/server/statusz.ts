// `/statusz`: since when the kubelet runs, and as what, for people.
import { kubeletVersion } from '../kubelet-version.ts'

const paths = ['/checkpoint', '/configz', '/flagz', '/healthz', '/metrics', '/pods', '/stats/summary']

/** @param upSeconds how long the process has run */
export function statusText(upSeconds: number = process.uptime(), nowMs: number = Date.now()): string {
  const whole = Math.floor(upSeconds)
  const [hours, minutes, seconds] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (value: number): string => String(value).padStart(2, '0')
  return `
kubelet statusz
Warning: This endpoint is for people to read: programs should not depend on its form.

Started: ${new Date(nowMs - upSeconds * 1000).toUTCString()}
Up: ${hours} hr ${two(minutes)} min ${two(seconds)} sec
Node version: ${process.version}
Binary version: ${kubeletVersion.replace(/^v/, '')}
Paths: ${paths.join(' ')}
`
}
