// `runc exec` as a child process, with pipes or with a terminal.
import { basename } from 'node:path'
import { PassThrough } from 'node:stream'
import type { Readable, Transform, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { openPty, startProgram } from '@nodelet/linux'
import type { Program, TerminalSize } from '@nodelet/linux'
import { programEnv } from '../exec-file.ts'
import { exitCode } from '../signals.ts'
import { lineEnds } from './line-ends.ts'
import type { ExecStreamRequest, StreamIO } from './types.ts'

/** A started `runc exec`. */
export interface ExecProcess {
  /** The program's exit code. */
  readonly ended: Promise<number>
  /** Joins the streams; fulfilled when all output has been passed on, or the client has gone. */
  connect(io: StreamIO): Promise<void>
  /** What runc said instead of running the program, after its end. */
  complaint(): Promise<string>
  /** Kills runc. */
  kill(): void
  /** Closes what is still open. */
  release(): void
}

export function startWithPipes(
  runc: string,
  args: readonly string[],
  { stdin, stdout }: Pick<ExecStreamRequest, 'stdin' | 'stdout'>,
): ExecProcess {
  const program = startProgram(runc, args, {
    env: programEnv(),
    detached: true, // signals for this program's terminal are not for it
    stdio: [stdin ? 'pipe' : 'ignore', stdout ? 'pipe' : 'ignore', 'pipe'],
  })
  const { stdin: input, stdout: output, stderr: errors } = program
  input?.on('error', () => {}) // a program that does not want its input has closed it
  return {
    ended: endOf(program),
    connect: async (io) => {
      if (input && io.stdin) feed(io.stdin, input)
      await Promise.all([drain(output, io.stdout), drain(errors, io.stderr)])
    },
    complaint: () => textOf(errors),
    kill: () => void program.kill('SIGKILL'),
    release: () => {
      for (const stream of program.stdio) stream?.destroy()
    },
  }
}

export function startWithTerminal(runc: string, args: readonly string[], size?: TerminalSize): ExecProcess {
  const pty = openPty(size)
  const { master, slave } = pty
  let program: Program
  try {
    program = startProgram(runc, args, { env: programEnv(), detached: true, stdio: [slave, slave, slave] })
  } catch (error) {
    master.destroy()
    throw error
  } finally {
    pty.releaseSlave()
  }
  master.on('error', () => {}) // its end says as much
  return {
    ended: endOf(program),
    connect: async (io) => {
      io.onResize((next) => {
        pty.resize(next)
        program.kill('SIGWINCH') // the terminal is not runc's controlling one: the kernel tells nobody
      })
      if (io.stdin) feed(io.stdin, master, { end: false })
      // crun leaves the container's terminal as it is.
      await drain(master, io.stdout, basename(runc) === 'crun' ? new PassThrough() : lineEnds())
    },
    complaint: () => textOf(master),
    kill: () => void program.kill('SIGKILL'),
    release: () => void master.destroy(),
  }
}

async function endOf(program: Program): Promise<number> {
  const { code, signal } = await program.ended
  return exitCode(code, signal)
}

/** Passes input on; when nobody wants it any more the rest is dropped, so that the client is not held up. */
function feed(from: Readable, to: Writable, options?: { end: boolean }): void {
  from.pipe(to, options)
  const drop = (): void => void from.unpipe(to).resume()
  to.once('error', drop).once('close', drop)
}

/** Passes output on to its end. Without somebody to read it, it is dropped. */
async function drain(
  from: Readable | undefined,
  to: Writable | undefined,
  through: Transform = new PassThrough(),
): Promise<void> {
  if (!from) return
  if (!to) return void from.resume()
  try {
    await pipeline(from, through, to, { end: false })
  } catch {
    // the client has gone: the signal says so, too
  }
}

async function textOf(stream: Readable | undefined): Promise<string> {
  let text = ''
  for await (const chunk of stream ?? []) text += String(chunk)
  return text
}
