// Images that garbage collection leaves alone, by patterns of the configuration.

/**
 * Whether a name is one of the patterns: exact, `prefix*`, or `*keyword*`. A `*` elsewhere is taken as it is written,
 * which no name has.
 */
export function matchesPinned(patterns: readonly string[], names: readonly string[]): boolean {
  return patterns.some((pattern) => {
    if (pattern.length > 2 && pattern.startsWith('*') && pattern.endsWith('*')) {
      const keyword = pattern.slice(1, -1)
      return names.some((name) => name.includes(keyword))
    }
    if (pattern.endsWith('*')) return names.some((name) => name.startsWith(pattern.slice(0, -1)))
    return names.includes(pattern)
  })
}
