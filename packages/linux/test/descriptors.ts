import { readdirSync, readlinkSync } from 'node:fs'

/** How many descriptors of this process lead where the test says: to a path, or for instance to `anon_inode:[pidfd]`. */
export function descriptorsTo(isMeant: (target: string) => boolean): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return isMeant(readlinkSync(`/proc/self/fd/${fd}`))
    } catch {
      return false // closed since the listing
    }
  }).length
}
