// The daemon's log: one JSON object per line on standard error.
import { destination, pino, stdTimeFunctions } from 'pino'
import type { Logger } from 'pino'

export function openLog(level: string): Logger {
  return pino({ level, base: null, timestamp: stdTimeFunctions.isoTime }, destination({ dest: 2, sync: true }))
}
