// What the system said.

/** Whether an error carries this code: an errno's name such as `ENOENT`, or one of Node's own. */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
