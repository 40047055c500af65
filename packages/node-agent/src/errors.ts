// What a person is told when a command can't do its work.
import { constants } from 'node:os'

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

/** A configuration that can't be used: names the field, the value and the source. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** A signal that a person or service manager sent. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
  /** As shells have it. */
  readonly exitCode: number

  constructor(signal: NodeJS.Signals) {
    super(`ended by ${signal}`)
    this.exitCode = 128 + constants.signals[signal]
  }
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
