// runc's commands, with its errors told apart.
import { join } from 'node:path'
import { execFile } from './exec-file.ts'
import { openStartGate } from './start-gate.ts'
import type { StartGate } from './start-gate.ts'

/** What went wrong: the container is unknown, not running, or anything else. */
export type RuncErrorCode = 'NOT_FOUND' | 'NOT_RUNNING' | 'FAILED'

/** A command that runc refused. `message` has runc's own reason. */
export class RuncError extends Error {
  override readonly name = 'RuncError'
  readonly code: RuncErrorCode

  constructor(code: RuncErrorCode, message: string) {
    super(message)
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
}

/** A runc with its root. Every call may be aborted. */
export interface Runc {
  readonly binary: string
  readonly root: string
  /** What comes before every command. */
  readonly globalArgs: readonly string[]
  /** `hasHooks`: there is something to be run after the start, which the OCI runtime must do itself. */
  start(id: string, options?: { hasHooks?: boolean }, signal?: AbortSignal): Promise<void>
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
export function createRunc({ binary = 'runc', root, systemdCgroup = false, startGate }: RuncOptions): Runc {
  const globalArgs = [`--root=${root}`, ...(systemdCgroup ? ['--systemd-cgroup'] : [])]
  const runc = async (args: readonly string[], signal?: AbortSignal): Promise<string> => {
    const { code, stdout, stderr } = await execFile(binary, [...globalArgs, ...args], signal)
    if (code !== 0) throw runcError(args, stderr || `status ${code}`)
    return stdout
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
    start: async (id, { hasHooks = false } = {}, signal) => {
      if (startGate && !hasHooks && (await openStartGate(join(root, id, 'exec.fifo'), startGate))) return
      await runc(['start', id], signal)
    },
    state: async (id, signal) => {
      const text = await unlessUnknown(runc(['state', id], signal))
      return text === undefined ? undefined : (JSON.parse(text) as RuncState)
    },
    list: async (signal) => (JSON.parse(await runc(['list', '-f', 'json'], signal)) as RuncState[] | null) ?? [],
    kill: async (id, name, { all = false } = {}, signal) =>
      void (await runc(['kill', ...(all ? ['--all'] : []), id, name], signal)),
    update: async (id, file, signal) => void (await runc(['update', '-r', file, id], signal)),
    pause: async (id, signal) => void (await runc(['pause', id], signal)),
    resume: async (id, signal) => void (await runc(['resume', id], signal)),
    checkpoint: async (id, { images, work }, signal) => {
      const paths = ['--image-path', images, '--work-path', work]
      await runc(['checkpoint', ...paths, '--leave-running', '--tcp-established', '--file-locks', id], signal)
    },
    delete: async (id, { force = false } = {}, signal) =>
      void (await unlessUnknown(runc(['delete', ...(force ? ['--force'] : []), id], signal))),
  }
}

/** The error that runc's standard error describes: its last line of level error, without the log's dressing. */
export function runcError(args: readonly string[], stderr: string): RuncError {
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
  return new RuncError(code, `runc ${args.join(' ')}: ${reason}`)
}

/** The last error in runc's log lines, or the whole text when it has another form. */
export function runcReason(stderr: string): string {
  const messages = [...stderr.matchAll(/level=(?:error|fatal) msg=("(?:[^"\\]|\\.)*"|\S+)/g)].map(([, text = '']) =>
    text.startsWith('"') ? unquote(text) : text,
  )
  return messages.at(-1) ?? stderr.trim()
}

function unquote(text: string): string {
  return text
    .slice(1, -1)
    .replaceAll(/\\(["\\nt])/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped === 't' ? '\t' : escaped))
}
