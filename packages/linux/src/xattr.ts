// Extended attributes, of the file itself and never of what a symlink names.
import { LinuxError } from './errors.ts'
import { call } from './libc.ts'

/** The kernel's own limit for one value, in bytes. */
const longestValue = 65_536

/** Sets an attribute such as `user.note` or `security.capability`. @throws LinuxError */
export function setXattr(path: string, name: string, value: Uint8Array): void {
  call('lsetxattr', `${name} of ${path}`, path, name, value, value.length, 0)
}

/** An attribute's bytes; undefined when the file has none of that name. @throws LinuxError */
export function getXattr(path: string, name: string): Buffer | undefined {
  const value = Buffer.alloc(longestValue)
  try {
    return Buffer.from(value.subarray(0, call('lgetxattr', `${name} of ${path}`, path, name, value, value.length)))
  } catch (error) {
    if (error instanceof LinuxError && error.code === 'ENODATA') return undefined
    throw error
  }
}
