// Runs a program, in another network namespace where one is given.
import { channel } from 'node:diagnostics_channel'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { finished, inNamespace, startProgram } from '@nodelet/linux'
import type { Program } from '@nodelet/linux'
import type { TextPiece } from '../text-chunks.ts'

export interface RunOptions {
  /** A pinned network namespace; default: the own. */
  netns?: string | undefined
  /** In one string or in pieces. */
  input?: string | readonly TextPiece[]
  /** Told of what the program prints, as it comes; `stdout` is then empty. */
  onOutput?: (text: string) => void
  /** The program is killed after this time; default 60 s. */
  timeoutMs?: number
}

export interface ProgramResult {
  /** Undefined when a signal ended it. */
  code: number | undefined
  stdout: string
  stderr: string
}

/** What the channel `nodelet:proxy:program` tells when a program has ended. */
export interface ProgramRun {
  program: string
  /** What it read, at most. */
  inputBytes: number
  /** From its start to its end and the end of its output. */
  ms: number
  /** Undefined when a signal ended it. */
  code: number | undefined
}

const usualTimeoutMs = 60_000
const runs = channel('nodelet:proxy:program')

/** @throws Error when the program cannot be started, or takes too long */
export async function runProgram(
  program: string,
  args: readonly string[],
  { netns, input = [], onOutput, timeoutMs = usualTimeoutMs }: RunOptions = {},
): Promise<ProgramResult> {
  const limit = AbortSignal.timeout(timeoutMs)
  const beganMs = performance.now()
  const child = start(program, args, netns, limit)
  const read = onOutput && child.stdout ? readAll(child.stdout, onOutput) : undefined
  const pieces = Readable.from(typeof input === 'string' ? [input] : input)
  // A program that ends before it has read everything: its exit code says why.
  if (child.stdin) void pipeline(pieces, child.stdin).catch(() => {})
  const [{ code, stdout, stderr }] = await Promise.all([finished(read ? { ...child, stdout: undefined } : child), read])
  if (runs.hasSubscribers) {
    const ms = performance.now() - beganMs
    const inputBytes = (typeof input === 'string' ? [input] : input).reduce(
      (sum, one) => sum + Buffer.byteLength(one),
      0,
    )
    runs.publish({ program, inputBytes, ms, code: code ?? undefined } satisfies ProgramRun)
  }
  if (code === null && limit.aborted) {
    throw new Error(`${[program, ...args].join(' ')} took more than ${timeoutMs / 1000} s and was killed`)
  }
  return { code: code ?? undefined, stdout, stderr }
}

async function readAll(stream: Readable, onOutput: (text: string) => void): Promise<void> {
  stream.setEncoding('utf8')
  for await (const text of stream) onOutput(text as string)
}

/** Runs a synchronous function in the namespace, or here when there is none. */
export function inNetns<Result>(netns: string | undefined, work: () => Result): Result {
  return netns === undefined ? work() : inNamespace('net', netns, work)
}

function start(program: string, args: readonly string[], netns: string | undefined, signal: AbortSignal): Program {
  const path = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`
  const env = { PATH: path, LC_ALL: 'C' }
  try {
    return startProgram(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env, signal, ...(netns && { netns }) })
  } catch (cause) {
    throw new Error(`${program} cannot be started (${(cause as Error).message}): install it`, { cause })
  }
}
