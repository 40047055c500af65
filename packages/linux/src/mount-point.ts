// Whether something is mounted at a path.
import { statSync } from 'node:fs'
import { dirname } from 'node:path'

/** True for a mount of another file system; a bind within one file system does not show. False when there is no such path. */
export function isMountPoint(path: string): boolean {
  const here = statSync(path, { throwIfNoEntry: false })
  return here !== undefined && here.dev !== statSync(dirname(path)).dev
}
