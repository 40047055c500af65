// From log lines to what a client asked to see.
import { parseLogLine, printTime } from './log-line.ts'
import type { LogOptions } from './log-options.ts'

const NEWLINE = 0x0a
const nothing = Buffer.alloc(0)

/** Turns raw lines into a client's bytes. */
export interface LogWriter {
  /** What a client sees of a raw line: nothing when it is filtered out. */
  write(line: Buffer): Buffer
  /** As many bytes or lines were given as were asked for. */
  readonly full: boolean
}

/** @param maxLines raw lines after which it is full; undefined without a limit */
export function createLogWriter(options: LogOptions, maxLines?: number): LogWriter {
  const { sinceMs, stream, timestamps, limitBytes = Number.POSITIVE_INFINITY } = options
  let bytesLeft = limitBytes
  let linesLeft = maxLines ?? Number.POSITIVE_INFINITY
  let atLineStart = true
  return {
    get full() {
      return bytesLeft <= 0 || linesLeft <= 0
    },
    write: (raw) => {
      const line = parseLogLine(raw)
      if (!line || bytesLeft <= 0 || linesLeft <= 0) return nothing
      linesLeft -= 1
      const prefixed = timestamps && atLineStart
      atLineStart = line.text.length === 0 || line.text.at(-1) === NEWLINE
      if (stream !== undefined && line.stream !== stream) return nothing
      if (sinceMs !== undefined && Date.parse(line.time) < sinceMs) return nothing
      const whole = prefixed ? Buffer.concat([Buffer.from(`${printTime(line.time)} `), line.text]) : line.text
      const shown = whole.length > bytesLeft ? whole.subarray(0, bytesLeft) : whole
      bytesLeft -= shown.length
      return shown
    },
  }
}
