// Files that one process has to itself.
import { closeSync, openSync } from 'node:fs'
import { LinuxError } from './errors.ts'
import { call } from './libc.ts'

const LOCK_EX_NB = 2 | 4

/**
 * Takes a file, which is made when missing unless it `exists`, until disposed or this process ends in any way: the kernel keeps
 * the lock, so none is ever stale. Answers undefined while another has it, be it this process. The file of a namespace exists: it
 * cannot be opened for more than reading.
 *
 * @throws LinuxError where the file system has no locks
 */
export function lockFile(
  path: string,
  what: 'made' | 'exists' = 'made',
): (Disposable & { readonly fd: number }) | undefined {
  // Closed at exec: programs that this process runs do not inherit the lock.
  const fd = openSync(path, what === 'made' ? 'a+' : 'r', 0o600)
  try {
    call('flock', path, fd, LOCK_EX_NB)
  } catch (error) {
    closeSync(fd)
    if (error instanceof LinuxError && (error.code === 'EAGAIN' || error.code === 'EWOULDBLOCK')) return undefined
    throw error
  }
  let held = true
  return {
    fd,
    [Symbol.dispose]: () => {
      if (held) closeSync(fd)
      held = false
    },
  }
}
