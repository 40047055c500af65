// The daemon's log: one JSON object per line on standard error.
import { destination, pino, stdSerializers, stdTimeFunctions } from 'pino'
import type { Logger } from 'pino'

export function openLog(level: string): Logger {
  const options = { level, base: null, timestamp: stdTimeFunctions.isoTime, serializers: { err: errorOf } }
  return pino(options, destination({ dest: 2, sync: true }))
}

/** Errors here say what their causes say, which pino would add to the message once more. The stack has the causes. */
function errorOf(error: Error): unknown {
  const shown = stdSerializers.err(error)
  if (error instanceof Error) shown.message = error.message
  return shown
}
