// The structured log of the agent: one JSON object per line.
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { destination, pino, stdSerializers, stdTimeFunctions } from 'pino'
import type { Logger } from 'pino'

/** Logs to standard error, or to a file that is made with its folder. */
export function openLog(level: string, file?: string): Logger {
  if (file !== undefined) mkdirSync(dirname(file), { recursive: true })
  const options = { level, base: null, timestamp: stdTimeFunctions.isoTime, serializers: { err: errorOf } }
  return pino(
    options,
    destination(file === undefined ? { dest: 2, sync: true } : { dest: file, sync: false, mkdir: true }),
  )
}

/** Errors here say what their causes say, which pino would add to the message once more. The stack has the causes. */
function errorOf(error: Error): unknown {
  const shown = stdSerializers.err(error)
  if (error instanceof Error) shown.message = error.message
  return shown
}
