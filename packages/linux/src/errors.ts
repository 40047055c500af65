// The error of a failed system call.

/** A system call that the kernel refused. Match on `code`, the errno's name. */
export class LinuxError extends Error {
  override readonly name = 'LinuxError'
  /** For instance `EBUSY`. */
  readonly code: string
  /** The system call, for instance `umount2`. */
  readonly call: string
  /** What it was tried on. */
  readonly path: string

  constructor(code: string, call: string, path: string, hint?: string) {
    super(`${code}: ${call} ${path}${hint ? ` (${hint})` : ''}`)
    this.code = code
    this.call = call
    this.path = path
  }
}
