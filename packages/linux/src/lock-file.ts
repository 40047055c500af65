// Files that one process has to itself.
import { closeSync, openSync } from 'node:fs'
import { LinuxError } from './errors.ts'
import { call } from './libc.ts'

const LOCK_EX_NB = 2 | 4

/**
 * Takes a file, which is made when missing, until disposed or this process ends in any way: the kernel keeps the lock, so
 * none is ever stale. Answers undefined while another has it, be it this process.
 *
 * @throws LinuxError where the file system has no locks
 */
export function lockFile(path: string): (Disposable & { readonly fd: number }) | undefined {
  const fd = openSync(path, 'a+', 0o600) // closed at exec: programs that this process runs do not inherit the lock
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
