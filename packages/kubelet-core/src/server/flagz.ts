// `/flagz`: what the kubelet was started with, for people. Pure.

/** Names of fields with dots between them; lists are one value, as JSON. */
export function flagsOf(input: object, path = ''): Record<string, string> {
  const flags = Object.entries(input).flatMap(([key, value]: [string, unknown]): [string, string][] => {
    const name = `${path}${key}`
    if (value === undefined || value === null) return []
    if (secrets.has(name)) return [[name, '<masked>']]
    if (typeof value === 'object' && !Array.isArray(value)) return Object.entries(flagsOf(value, `${name}.`))
    return [[name, typeof value === 'string' ? value : JSON.stringify(value)]]
  })
  return Object.fromEntries(flags)
}

/** Headers of a request may have a password. */
const secrets: ReadonlySet<string> = new Set(['staticPodURLHeader'])

/** A line for each, by name. */
export function flagsText(flags: Readonly<Record<string, string>>): string {
  const lines = Object.entries(flags).map(([name, value]) => `${name}=${value.replaceAll('\n', String.raw`\n`)}\n`)
  return `
kubelet flags
Warning: This endpoint is for people to read: programs should not depend on its form.

${lines.toSorted().join('')}`
}
