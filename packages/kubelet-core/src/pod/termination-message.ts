// What a container left as its last words: its termination message file, or the end of its log.
import { open } from 'node:fs/promises'
import type { ContainerStatus } from '@nodelet/cri-api'
import { terminationPathAnnotation, terminationPolicyAnnotation } from './labels.ts'

const maxMessageBytes = 4096
const maxLogBytes = 2048
const maxLogLines = 80
/** A log line has a time, a stream and a tag before its text. */
const logReadBytes = maxLogBytes + maxLogLines * 64

/** The message of an ended container; the runtime's own when it left none. */
export async function terminationMessage(status: ContainerStatus): Promise<string> {
  const { annotations, mounts, exitCode, message, logPath } = status
  const path = annotations[terminationPathAnnotation]
  const file = mounts.find(({ containerPath }) => containerPath === path)?.hostPath
  const written = file ? await tail(file, maxMessageBytes) : ''
  if (written) return written
  const fallback = annotations[terminationPolicyAnnotation] === 'FallbackToLogsOnError' && exitCode !== 0
  const log = fallback && logPath ? logText(await tail(logPath, logReadBytes)) : ''
  return log || message
}

/** The texts of the last lines of a CRI log; a partial line joins its next. */
export function logText(log: string): string {
  const lines: string[] = []
  let partial = ''
  for (const line of log.split('\n')) {
    const match = /^\S+ (?:stdout|stderr) ([FP]) (.*)$/.exec(line)
    if (!match) continue
    partial += match[2] ?? ''
    if (match[1] === 'P') continue
    lines.push(`${partial}\n`)
    partial = ''
  }
  return Buffer.from(lines.slice(-maxLogLines).join('') + partial)
    .subarray(-maxLogBytes)
    .toString()
}

/** The last bytes of a file; empty when it cannot be read, for a message is a courtesy and never holds a pod up. */
async function tail(path: string, bytes: number): Promise<string> {
  try {
    await using file = await open(path, 'r')
    const { size } = await file.stat()
    const length = Math.min(size, bytes)
    const buffer = Buffer.alloc(length)
    const { bytesRead } = await file.read(buffer, 0, length, size - length)
    return buffer.subarray(0, bytesRead).toString()
  } catch {
    // Gone with the pod's folder, or a container without such a file.
    return ''
  }
}
