// What the kubelet tells its log: the lines are pino's shape, fields first.

/** Receives log lines; any pino logger is one. */
export interface Logger {
  error(fields: object, message: string): void
  warn(fields: object, message: string): void
  info(fields: object, message: string): void
  debug(fields: object, message: string): void
}

/** What of a log is told: all but steps, or steps too. */
export type LogLevel = 'info' | 'debug'

/** Of a verbosity as the Go kubelet counts: to 3 it tells what happens, from 4 on each step. */
export const logLevelOf = (verbosity: number): LogLevel => (verbosity < 4 ? 'info' : 'debug')

const ignore = (): void => {}

/** The default: nothing is logged. */
export const silentLogger: Logger = { error: ignore, warn: ignore, info: ignore, debug: ignore }
