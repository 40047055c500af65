// What the system said.

/** Whether an error carries this code: an errno's name such as `ENOENT`. */
export const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code
