// Lines of a container's log, as every CRI runtime writes them: TIME STREAM TAG TEXT.

const BLANK = 0x20
const NEWLINE = 0x0a

/** One line, or a part of one. */
export interface LogLine {
  /** RFC 3339, as written. */
  time: string
  stream: 'stdout' | 'stderr'
  /** With its newline unless it is a part that others follow. */
  text: Buffer
}

/** @returns undefined for what is no such line */
export function parseLogLine(line: Buffer): LogLine | undefined {
  const afterTime = line.indexOf(BLANK)
  const afterStream = line.indexOf(BLANK, afterTime + 1)
  const afterTag = line.indexOf(BLANK, afterStream + 1)
  if (afterTime < 0 || afterStream < 0 || afterTag < 0) return undefined
  const time = line.toString('latin1', 0, afterTime)
  const stream = line.toString('latin1', afterTime + 1, afterStream)
  if ((stream !== 'stdout' && stream !== 'stderr') || Number.isNaN(Date.parse(time))) return undefined
  const partial = line.toString('latin1', afterStream + 1, afterTag).split(':', 1)[0] === 'P'
  const end = partial && line.at(-1) === NEWLINE ? line.length - 1 : line.length
  return { time, stream, text: line.subarray(afterTag + 1, end) }
}

/** A line's time with nine digits of seconds, in its own zone, `Z` for UTC: what clients sort by. */
export function printTime(time: string): string {
  const [, seconds = '', fraction = '', zone = 'Z'] = /^([^.Z+]{19})(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(time) ?? []
  if (!seconds) return time
  return `${seconds}.${fraction.padEnd(9, '0')}${/^[+-]00:00$/.test(zone) ? 'Z' : zone}`
}
