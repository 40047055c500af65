// Runs a program, in another network namespace where one is given.
import { spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { inNamespace } from '@nodelet/linux'

export interface RunOptions {
  /** A pinned network namespace; default: the own. */
  netns?: string | undefined
  input?: string
  /** The program is killed after this time; default 60 s. */
  timeoutMs?: number
}

export interface ProgramResult {
  /** Undefined when a signal ended it. */
  code: number | undefined
  stdout: string
  stderr: string
}

const usualTimeoutMs = 60_000

/** @throws Error when the program cannot be started, or takes too long */
export function runProgram(
  program: string,
  args: readonly string[],
  { netns, input = '', timeoutMs = usualTimeoutMs }: RunOptions = {},
): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    const child = inNetns(netns, () => start(program, args))
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`${[program, ...args].join(' ')} took more than ${timeoutMs / 1000} s and was killed`))
    }, timeoutMs)
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
    // A program that ends before it has read everything: its exit code says why.
    child.stdin.on('error', () => {})
    child.on('error', (cause) => {
      clearTimeout(timer)
      reject(new Error(`${program} cannot be started (${cause.message}): install it`, { cause }))
    })
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ code: code ?? undefined, stdout: textOf(stdout), stderr: textOf(stderr) })
    })
    child.stdin.end(input)
  })
}

/** Runs a synchronous function in the namespace, or here when there is none. */
export function inNetns<Result>(netns: string | undefined, work: () => Result): Result {
  return netns === undefined ? work() : inNamespace('net', netns, work)
}

function start(program: string, args: readonly string[]): ChildProcessWithoutNullStreams {
  const path = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`
  return spawn(program, args, { stdio: 'pipe', env: { PATH: path, LC_ALL: 'C' } })
}

function textOf(chunks: readonly Buffer[]): string {
  return Buffer.concat(chunks).toString('utf8')
}
