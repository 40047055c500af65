// What is told to a log: the lines are pino's shape, fields first.

/** Receives log lines; any pino logger is one. */
export interface Logger {
  error(fields: object, message: string): void
  warn(fields: object, message: string): void
  info(fields: object, message: string): void
  debug(fields: object, message: string): void
}

const ignore = (): void => {}

/** The default: nothing is logged. */
export const silentLogger: Logger = { error: ignore, warn: ignore, info: ignore, debug: ignore }
