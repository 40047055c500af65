// Device nodes and other special files.
import { call } from './libc.ts'

/**
 * Makes a special file.
 * @param mode type and permissions, for instance `constants.S_IFCHR | 0o600`; the umask applies
 * @throws LinuxError
 */
export function makeNode(path: string, mode: number, major = 0, minor = 0): void {
  call('mknod', path, path, mode, deviceNumber(major, minor))
}

/** As makedev(3) packs them. */
function deviceNumber(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)]
  return ((high & 0xfff_ff000n) << 32n) | ((high & 0xfffn) << 8n) | ((low & 0xffff_ff00n) << 12n) | (low & 0xffn)
}
