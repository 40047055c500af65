// What a person is told when a command can't do its work.

/** An expected failure: its message names the thing and the remedy, and needs no stack. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  /** What to do about it; printed on a line of its own. */
  readonly remedy: string

  constructor(message: string, remedy: string, options?: ErrorOptions) {
    super(message, options)
    this.remedy = remedy
  }
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
