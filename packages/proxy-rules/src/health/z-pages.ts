// `/flagz` and `/statusz`: what the proxy was started with, and since when it runs, for people. Pure.

const warning = 'Warning: This endpoint is for people to read: programs should not depend on its form.'

/** A line for each field, by name: with dots between the names, and lists as JSON. */
export function flagzText(configuration: object): string {
  return `\nkube-proxy flagz\n${warning}\n\n${linesOf(configuration).toSorted().join('')}`
}

function linesOf(section: object, path = ''): string[] {
  return Object.entries(section).flatMap(([key, value]: [string, unknown]) => {
    const name = `${path}${key}`
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return linesOf(value, `${name}.`)
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    return [`${name}=${text.replaceAll('\n', String.raw`\n`)}\n`]
  })
}

/** @param upSeconds how long the process has run */
export function statuszText(paths: readonly string[], upSeconds: number, nowMs: number): string {
  const whole = Math.floor(upSeconds)
  const [hours, minutes, seconds] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (value: number): string => String(value).padStart(2, '0')
  return `
kube-proxy statusz
${warning}

Started: ${new Date(nowMs - upSeconds * 1000).toUTCString()}
Up: ${hours} hr ${two(minutes)} min ${two(seconds)} sec
Node version: ${process.version}
Paths: ${paths.join(' ')}
`
}
