// Versions of CSI that a driver says it serves.

/** For instance `[1, 5, 0]`. */
export type Version = readonly number[]

/** Two components or more, a `v` before and anything behind, as the Go kubelet reads them. */
const pattern = /^\s*v?((?:0|[1-9]\d*)(?:\.\d+)+)/

/** The highest of 1.x. @throws Error: there is none */
export function supportedVersion(versions: readonly string[]): Version {
  if (versions.length === 0) throw new Error('the driver names no supported versions')
  const [highest] = versions
    .flatMap((text) => parseVersion(text) ?? [])
    .filter(([major]) => major === 1)
    .toSorted((a, b) => compareVersions(b, a))
  if (highest) return highest
  throw new Error(`none of the versions ${JSON.stringify(versions)} is supported: must be 1.x`)
}

/** Below zero: `a` is the older one. */
export function compareVersions(a: Version, b: Version): number {
  const length = Math.max(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

/** In an array, for `flatMap` would spread a bare one. */
function parseVersion(text: string): [Version] | undefined {
  const numbers = pattern.exec(text)?.[1]?.split('.').map(Number)
  return numbers && [numbers]
}
