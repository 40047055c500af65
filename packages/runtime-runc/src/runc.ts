// runc's commands, with its errors told apart.
import { join } from 'node:path'
import { z } from 'zod'
import { execFile } from './exec-file.ts'
import type { ProcessRef } from './pids.ts'
import { openStartGate } from './start-gate.ts'
import type { StartGate } from './start-gate.ts'

const CALL_LIMIT_MS = 60_000

const stateSchema = z.looseObject({
  id: z.string(),
  pid: z.number(),
  status: z.enum(['creating', 'created', 'running', 'paused', 'stopped']),
  bundle: z.string(),
})
const logLine = z.looseObject({ level: z.string(), msg: z.string() })

/** What went wrong: the container is unknown, not running, the call took too long and was killed, or anything else. */
export type RuncErrorCode = 'NOT_FOUND' | 'NOT_RUNNING' | 'TIMED_OUT' | 'FAILED'

/** A command that runc refused. `message` has runc's own reason. */
export class RuncError extends Error {
  override readonly name = 'RuncError'
  readonly code: RuncErrorCode

  constructor(code: RuncErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** A container as runc sees it. */
export interface RuncState {
  id: string
  /** First process; 0 when it ended. */
  pid: number
  status: 'creating' | 'created' | 'running' | 'paused' | 'stopped'
  bundle: string
}

/** Where runc is and keeps its state. */
export interface RuncOptions {
  /** Default: `runc` on the PATH. conmon needs an absolute path. */
  binary?: string
  /** Folder of runc's own state, on a tmpfs. */
  root: string
  /** Cgroups are made by systemd. Default: by runc itself. */
  systemdCgroup?: boolean
  /** How programs wait for their start. Default: only its own `start` knows. */
  startGate?: StartGate | undefined
  /** How long a call may take, in milliseconds; it is then killed. Making a container may take four times that. Default: 60 s. */
  callLimitMs?: number
}

/** A runc with its root. Every call may be aborted. */
export interface Runc {
  readonly binary: string
  readonly root: string
  /** What comes before every command. */
  readonly globalArgs: readonly string[]
  /** How long conmon waits for it to make a container. */
  readonly createLimitMs: number
  /**
   * `hasHooks`: there is something to be run after the start, which the OCI runtime must do itself. `init`: the process
   * that is to start; its end is then noticed at once.
   */
  start(
    id: string,
    options?: { hasHooks?: boolean; init?: ProcessRef | undefined },
    signal?: AbortSignal,
  ): Promise<void>
  /** Undefined for an unknown container. */
  state(id: string, signal?: AbortSignal): Promise<RuncState | undefined>
  /** All containers, by one process. */
  list(signal?: AbortSignal): Promise<RuncState[]>
  /** Sends a signal, by name or number, to the first process, or with `all` to every process of the container. */
  kill(id: string, name: string, options?: { all?: boolean }, signal?: AbortSignal): Promise<void>
  /** Applies the limits of a JSON file of OCI resources. */
  update(id: string, file: string, signal?: AbortSignal): Promise<void>
  /** Stops all processes of the container until `resume`. */
  pause(id: string, signal?: AbortSignal): Promise<void>
  resume(id: string, signal?: AbortSignal): Promise<void>
  /** Has criu write the processes to the folder `images`, and its log to `work`. They stay as they are. */
  checkpoint(id: string, folders: { images: string; work: string }, signal?: AbortSignal): Promise<void>
  /** Removes what runc keeps, and the cgroup; `force` kills first. An unknown container is fine. */
  delete(id: string, options?: { force?: boolean }, signal?: AbortSignal): Promise<void>
}

/** Makes the commands. Nothing is run yet. */
export function createRunc(options: RuncOptions): Runc {
  const { binary = 'runc', root, systemdCgroup = false, startGate, callLimitMs = CALL_LIMIT_MS } = options
  const globalArgs = [`--root=${root}`, ...(systemdCgroup ? ['--systemd-cgroup'] : [])]
  const runc = async (args: readonly string[], signal?: AbortSignal): Promise<string> => {
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(timedOut(binary, args, callLimitMs)), callLimitMs)
    const limit = signal ? AbortSignal.any([signal, late.signal]) : late.signal
    try {
      const { code, stdout, stderr } = await execFile(binary, [...globalArgs, ...args], limit)
      if (code !== 0) throw runcError(args, stderr || silentEnd(code), binary)
      return stdout
    } finally {
      clearTimeout(timer)
    }
  }
  const answer = async <T>(schema: z.ZodType<T>, args: readonly string[], signal?: AbortSignal): Promise<T> => {
    const text = await runc(args, signal)
    try {
      return schema.parse(JSON.parse(text))
    } catch (cause) {
      const shown = JSON.stringify(text.slice(0, 100))
      throw new RuncError('FAILED', `${binary} ${args.join(' ')}: its answer makes no sense: ${shown}`, { cause })
    }
  }
  const unlessUnknown = async <T>(call: Promise<T>): Promise<T | undefined> => {
    try {
      return await call
    } catch (error) {
      if (error instanceof RuncError && error.code === 'NOT_FOUND') return undefined
      throw error
    }
  }
  return {
    binary,
    root,
    globalArgs,
    start: async (id, { hasHooks = false, init } = {}, signal) => {
      const who = { init, limitMs: callLimitMs }
      if (startGate && !hasHooks && (await openStartGate(join(root, id, 'exec.fifo'), startGate, who))) return
      await runc(['start', id], signal)
    },
    createLimitMs: 4 * callLimitMs,
    state: async (id, signal) => unlessUnknown(answer(stateSchema, ['state', id], signal)),
    list: async (signal) => (await answer(z.array(stateSchema).nullable(), ['list', '-f', 'json'], signal)) ?? [],
    kill: async (id, name, { all = false } = {}, signal) =>
      void (await runc(['kill', ...(all ? ['--all'] : []), id, name], signal)),
    update: async (id, file, signal) => void (await runc(['update', '-r', file, id], signal)),
    pause: async (id, signal) => void (await runc(['pause', id], signal)),
    resume: async (id, signal) => void (await runc(['resume', id], signal)),
    checkpoint: async (id, { images, work }, signal) => {
      const paths = ['--image-path', images, '--work-path', work]
      // As long as its caller likes: the memory may be large.
      const args = ['checkpoint', ...paths, '--leave-running', '--tcp-established', '--file-locks', id]
      const { code, stderr } = await execFile(binary, [...globalArgs, ...args], signal)
      if (code !== 0) throw runcError(args, stderr || silentEnd(code), binary)
    },
    delete: async (id, { force = false } = {}, signal) =>
      void (await unlessUnknown(runc(['delete', ...(force ? ['--force'] : []), id], signal))),
  }
}

/** The error that runc's standard error describes: its last line of level error, without the log's dressing. */
export function runcError(args: readonly string[], stderr: string, program: string = 'runc'): RuncError {
  const reason = runcReason(stderr)
  // crun's words come after runc's.
  const isUnknown = /container does not exist|container with given ID does not exist|error opening file .*status/i
  const code = isUnknown.test(reason)
    ? 'NOT_FOUND'
    : /container not running|process already finished|not running|cannot .* stopped|kill container: no such process/i.test(
          reason,
        )
      ? 'NOT_RUNNING'
      : 'FAILED'
  return new RuncError(code, `${program} ${args.join(' ')}: ${reason}`)
}

/** The last error in runc's log lines, or the whole text when it has another form. */
export function runcReason(stderr: string): string {
  const lines = stderr.split('\n').flatMap((line) => jsonMessage(line) ?? [])
  if (lines.length > 0) return lines.at(-1) ?? ''
  const messages = [...stderr.matchAll(/level=(?:error|fatal) msg=("(?:[^"\\]|\\.)*"|\S+)/g)].map(([, text = '']) =>
    text.startsWith('"') ? unquote(text) : text,
  )
  return messages.at(-1) ?? stderr.trim()
}

/** The message of an error in the JSON form of its log. */
function jsonMessage(line: string): string | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const { data } = logLine.safeParse(JSON.parse(line))
    return data && ['error', 'fatal'].includes(data.level) ? data.msg : undefined
  } catch {
    return undefined // another line that begins so: it is shown as it is
  }
}

const silentEnd = (code: number): string =>
  code > 128
    ? `it was killed by signal ${code - 128} and said nothing`
    : `it ended with status ${code} and said nothing`

function timedOut(binary: string, args: readonly string[], limitMs: number): RuncError {
  const message = `${binary} ${args.join(' ')}: it did not end within ${limitMs / 1000} s and was killed`
  return new RuncError('TIMED_OUT', `${message}; find out what it waits for`)
}

function unquote(text: string): string {
  return text
    .slice(1, -1)
    .replaceAll(/\\(["\\nt])/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped === 't' ? '\t' : escaped))
}
