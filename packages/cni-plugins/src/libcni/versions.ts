// Versions of the protocol. Pure.

/** Those that we speak, oldest first. */
export const cniVersions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const

/** One that we speak. */
export type CniVersion = (typeof cniVersions)[number]

export const newestVersion: CniVersion = '1.1.0'

/** Whether a version such as `0.4.0` comes before another. */
export function isBefore(version: string, other: string): boolean {
  const [one, two] = [version, other].map((text) => text.split('.').map(Number))
  for (const at of [0, 1, 2]) {
    const difference = (one?.[at] ?? 0) - (two?.[at] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}

export const isVersion = (text: string): boolean => /^\d+\.\d+\.\d+$/.test(text)

/** The highest that we know out of what is offered; undefined when we know none. */
export function highestKnown(offered: readonly string[]): CniVersion | undefined {
  return cniVersions.findLast((version) => offered.includes(version))
}

/** For plugins that are younger than the protocol. */
export const versionsSince = (first: CniVersion): CniVersion[] =>
  cniVersions.filter((version) => !isBefore(version, first))

/** What a verb needs of the configuration's version. */
export const sinceVersion = { ADD: '0.1.0', DEL: '0.1.0', CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' } as const

/** From here on DEL gets the result of ADD. */
export const delKnowsResultSince = '0.4.0'
