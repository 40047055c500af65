// Running one more program in a container, to its end.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { CriError } from '@nodelet/cri-api'
import { startProgram } from '@nodelet/linux'
import { programEnv } from '../exec-file.ts'
import { readText } from '../files.ts'
import { parseLog } from '../log.ts'
import type { LogOutput } from '../log.ts'
import { killGroup, processRef } from '../pids.ts'
import { runcReason } from '../runc.ts'
import type { Runc } from '../runc.ts'
import type { OciSpec } from '../spec/oci.ts'
import { entryOf, runcOf } from './context.ts'
import type { Context } from './context.ts'
import { crashPoint } from '../crash-points.ts'

/** More output than this, per stream, is dropped; the program goes on. */
const OUTPUT_LIMIT = 16 << 20
/** Room for both streams and what the log format adds to each line. */
const LOG_LIMIT = 4 * OUTPUT_LIMIT

const KILL_TRIES = 40
const KILL_PAUSE_MS = 25

/** What the program said and how it ended. */
export interface ExecResult extends LogOutput {
  exitCode: number
}

/**
 * Runs a program in a running container, as the container's user, without a terminal. Its exit code is no error, and a
 * child that it leaves behind is not waited for, even when it holds the output. `timeoutMs` 0 is no limit.
 *
 * @throws CriError NOT_FOUND; FAILED_PRECONDITION when it does not run; DEADLINE_EXCEEDED, the program then being
 *   killed with its process group; UNKNOWN with runc's reason when the program cannot be run.
 */
export async function execSync(
  context: Context,
  id: string,
  command: readonly string[],
  timeoutMs = 0,
  signal?: AbortSignal,
): Promise<ExecResult> {
  const { record } = entryOf(context, id)
  const { phase } = record
  if (phase !== 'running') {
    throw new CriError('FAILED_PRECONDITION', `container ${id} is ${phase}: start it before running commands in it`)
  }
  if (command.length === 0) throw new CriError('INVALID_ARGUMENT', `exec in container ${id}: the command is empty`)
  signal?.throwIfAborted()
  const bundle = join(context.folders.bundles, id)
  const folder = await mkdtemp(join(bundle, 'exec-'))
  try {
    const { process: base } = await specOf(bundle)
    await writeFile(join(folder, 'process.json'), JSON.stringify({ ...base, args: command, terminal: false }))
    crashPoint('exec/prepared')
    const exitCode = await run(execArgs(context, runcOf(context, record), id, folder), folder, {
      id,
      command,
      timeoutMs,
      signal,
    })
    crashPoint('exec/ended')
    return { exitCode, ...parseLog(await readFile(join(folder, 'log')), OUTPUT_LIMIT) }
  } finally {
    await rm(folder, { recursive: true, force: true })
    await rm(join(context.folders.sockets, basename(folder)), { force: true })
  }
}

async function specOf(bundle: string): Promise<OciSpec> {
  const file = join(bundle, 'config.json')
  try {
    return JSON.parse(await readFile(file, 'utf8')) as OciSpec
  } catch (cause) {
    const { message } = cause as Error
    throw new Error(`reading ${file}: ${message}: the container runs on, but no command can; make it anew`, { cause })
  }
}

/**
 * conmon, not runc alone: `runc exec` does not end before every holder of the output has. It gets a bundle and a name of
 * its own, for it makes control files and a socket there: in the container's place they would cut off its monitor.
 */
function execArgs({ conmon, folders }: Context, runc: Runc, id: string, folder: string): [string, ...string[]] {
  const values: [string, string][] = [
    ['--exec-process-spec', join(folder, 'process.json')],
    ['-c', id],
    ['-u', basename(folder)],
    ['-n', id],
    ['-r', runc.binary],
    ...runc.globalArgs.map((arg): [string, string] => ['--runtime-arg', arg]),
    ['-l', `k8s-file:${join(folder, 'log')}`],
    ['--log-global-size-max', String(LOG_LIMIT)],
    ['-p', join(folder, 'pid')],
    ['-b', folder],
    ['--socket-dir-path', folders.sockets],
  ]
  return [conmon, '-e', '--sync', '--no-sync-log', ...values.flat()]
}

interface RunOptions {
  id: string
  command: readonly string[]
  timeoutMs: number
  signal: AbortSignal | undefined
}

/** Runs conmon and returns the program's exit code. */
async function run([conmon, ...args]: [string, ...string[]], folder: string, options: RunOptions): Promise<number> {
  const { id, command, timeoutMs, signal } = options
  const program = startProgram(conmon, args, {
    cwd: folder,
    env: { ...programEnv(), _OCI_SYNCPIPE: '3' },
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    detached: true, // a group, which is killed as a whole
  })
  crashPoint('exec/spawned')
  const streams = [program.stdio[3], program.stdio[2]].filter((stream) => stream !== undefined)
  const [answer = '', stderr = Promise.resolve('')] = streams.map(readAll)
  const interrupted = Promise.withResolvers<never>()
  const limitMs = Math.min(timeoutMs, 2 ** 31 - 1) // a timer with more would end at once
  const timer = limitMs > 0 ? setTimeout(() => interrupted.reject(timedOut(command)), limitMs) : undefined
  const onAbort = (): void => interrupted.reject(signal?.reason)
  signal?.addEventListener('abort', onAbort)
  try {
    await Promise.race([program.ended, interrupted.promise])
    return await exitCodeOf(id, await Promise.race([answer, interrupted.promise]), stderr)
  } catch (error) {
    await endProgram(join(folder, 'pid'), program.ended)
    killGroup(program.pid)
    throw error
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
    for (const stream of streams) stream.destroy()
  }
}

async function exitCodeOf(id: string, line: string, stderr: Promise<string>): Promise<number> {
  const answer = (line ? JSON.parse(line) : {}) as { exit_code?: number; message?: string }
  if (answer.exit_code !== undefined && answer.exit_code >= 0) return answer.exit_code
  const reason = runcReason(answer.message ?? (await stderr)) || 'conmon ended without an answer'
  throw new CriError('UNKNOWN', `failed to exec in container ${id}: ${reason}`)
}

/** Kills the program, even one that is just being started, and lets conmon reap it: else it stays a zombie. */
export async function endProgram(pidFile: string, ended: Promise<unknown>): Promise<void> {
  for (let tries = 0; tries < KILL_TRIES; tries++) {
    await killProgram(pidFile)
    const gone = ended.then(
      () => true,
      () => true, // conmon could not be run at all
    )
    if (await Promise.race([gone, sleep(KILL_PAUSE_MS, false)])) return
  }
}

/** runc makes the program the leader of a session, so its group has its number. */
async function killProgram(pidFile: string): Promise<void> {
  const pid = Number((await readText(pidFile)) ?? 0)
  if (pid <= 1 || !processRef(pid)) return
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, 'SIGKILL')
    } catch {
      // gone since the look, or leader of no group: the other target covers it
    }
  }
}

function timedOut(command: readonly string[]): CriError {
  return new CriError(
    'DEADLINE_EXCEEDED',
    `command ${JSON.stringify(command.join(' '))} timed out: raise the timeout or shorten it`,
  )
}

async function readAll(stream: Readable): Promise<string> {
  let text = ''
  stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  await new Promise<void>((resolve) => stream.once('close', resolve))
  return text
}
