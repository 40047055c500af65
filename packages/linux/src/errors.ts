// The error of a failed system call.
import { constants } from 'node:os'

const errnoNames = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]))
// Numbers with two names.
for (const name of ['EAGAIN', 'EOPNOTSUPP', 'EDEADLK'] as const) errnoNames.set(constants.errno[name], name)

/** For instance `EBUSY`; `errno N` for a number without a name. */
export const errnoName = (errno: number): string => errnoNames.get(errno) ?? `errno ${errno}`

/** A system call that the kernel refused. Match on `code`, the errno's name. */
export class LinuxError extends Error {
  override readonly name = 'LinuxError'
  /** For instance `EBUSY`. */
  readonly code: string
  /** The system call, for instance `umount2`. */
  readonly call: string
  /** What it was tried on. */
  readonly path: string

  /** @param hint what the kernel says about it, or what to do */
  constructor(code: string, call: string, path: string, hint?: string) {
    super(`${code}: ${call} ${path}${hint ? `: ${hint}` : ''}`)
    this.code = code
    this.call = call
    this.path = path
  }
}
