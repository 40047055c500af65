// What of a file makes it a group's. Pure.
import type { Stats } from 'node:fs'

const setGid = 0o2000
const fileBits = 0o660
export const folderBits: number = 0o770 | setGid

/** The mode of a file that belongs to a group; undefined: as it is. Links have none. */
export function groupMode(stats: Stats, gid: number): number | undefined {
  if (stats.isSymbolicLink()) return undefined
  const mode = stats.mode & 0o7777
  const wanted = mode | (stats.isDirectory() ? folderBits : fileBits)
  // chown takes setgid away, hence a mode after it.
  return wanted !== mode || stats.gid !== gid ? wanted : undefined
}
