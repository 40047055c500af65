// Which files of a rotated log go, and which are packed. Pure.

const packed = '.gz'
const unfinished = '.tmp'

export interface RotationPlan {
  remove: string[]
  /** Oldest first. */
  pack: string[]
}

/**
 * What to do with the rotated files before the live one is rotated too.
 * @param names all files beside `log` in its folder
 * @param log the live file's name, for instance `0.log`
 * @param maxFiles KubeletConfiguration `containerLogMaxFiles`: how many there may be afterwards, the live one included
 */
export function planRotation(names: readonly string[], log: string, maxFiles: number): RotationPlan {
  const rotated = names.filter((name) => name.startsWith(`${log}.`)).toSorted()
  const all = new Set(rotated)
  // A crash leaves half of a packed file, or the original beside it.
  const isWhole = (name: string): boolean => !name.endsWith(unfinished) && !all.has(name + packed)
  const whole = rotated.filter(isWhole)
  const kept = whole.slice(Math.max(0, whole.length - Math.max(0, maxFiles - 2)))
  return {
    remove: [...rotated.filter((name) => !isWhole(name)), ...whole.slice(0, whole.length - kept.length)],
    pack: kept.filter((name) => !name.endsWith(packed)),
  }
}

/** `0.log` at that time: `0.log.20260131-235959`, in UTC. */
export function rotatedName(log: string, nowMs: number): string {
  const [date = '', time = ''] = new Date(nowMs).toISOString().split(/[T.]/)
  return `${log}.${date.replaceAll('-', '')}-${time.replaceAll(':', '')}`
}

export const packedName = (name: string): string => name + packed
export const unfinishedName = (name: string): string => name + packed + unfinished
