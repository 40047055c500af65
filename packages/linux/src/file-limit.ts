// How many files this process may have open: RLIMIT_NOFILE.
import { call } from './libc.ts'

const RLIMIT_NOFILE = 7
const SELF = 0

/** `soft` is what counts; it may be raised up to `hard`, and `hard` by who has CAP_SYS_RESOURCE. */
export interface FileLimit {
  soft: number
  hard: number
}

/** @throws LinuxError */
export function fileLimit(): FileLimit {
  const limit = new BigUint64Array(2)
  call('prlimit', 'RLIMIT_NOFILE', SELF, RLIMIT_NOFILE, null, new Uint8Array(limit.buffer))
  return { soft: Number(limit[0]), hard: Number(limit[1]) }
}

/** Programs that are started later have it too. @throws LinuxError EPERM when `hard` would rise and may not */
export function setFileLimit({ soft, hard }: FileLimit): void {
  const limit = new BigUint64Array([BigInt(soft), BigInt(hard)])
  call('prlimit', `RLIMIT_NOFILE ${soft}:${hard}`, SELF, RLIMIT_NOFILE, new Uint8Array(limit.buffer), null)
}
