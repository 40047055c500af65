// What a person is told when the daemon can't start.

/** An expected failure: its message names the thing, its remedy what to do; needs no stack. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly remedy: string

  constructor(message: string, remedy: string, options?: ErrorOptions) {
    super(message, options)
    this.remedy = remedy
  }
}
