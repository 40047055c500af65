// What criu says of itself. Pure.

/** The first error of a log of criu: those after it follow from it. Undefined when there is none. */
export function dumpFailure(log: string): string | undefined {
  const line = log.split('\n').find((text) => /^(\([\d.]+\) )?\s*(\d+: )?Error /.test(text))
  return line?.replace(/^(\([\d.]+\) )?\s*(\d+: )?Error (\([^)]*\): )?/, '').trim()
}
