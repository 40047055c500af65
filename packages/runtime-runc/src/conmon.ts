// conmon: one small process per container, which owns its output, terminal and exit code.
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { startProgram } from '@nodelet/linux'
import type { Program } from '@nodelet/linux'
import { programEnv } from './exec-file.ts'
import { readText } from './files.ts'
import { killGroup, processRef } from './pids.ts'
import type { ProcessRef } from './pids.ts'
import type { Runc } from './runc.ts'
import { runcReason } from './runc.ts'
import { crashPoint } from './crash-points.ts'

const noAnswer = 'conmon ended without an answer; was it killed, or did the OCI runtime make nothing?'

/** How conmon is run for a container. Paths are absolute. */
export interface ConmonOptions {
  id: string
  name: string
  bundle: string
  /** Where the exit code is written, as a file with the container's ID for its name. */
  exitDir: string
  /** Where `exit` and `oom` are written, too. */
  persistDir: string
  /** Folder of attach sockets; with `/ID/attach` at most 107 bytes. */
  socketDir: string
  /** Absent: output is dropped. */
  logPath?: string
  terminal: boolean
  stdin: boolean
  /** Keep standard input open when the attached client goes. */
  leaveStdinOpen: boolean
  runc: Runc
  /** Default: `conmon` on the PATH. */
  binary?: string
  signal?: AbortSignal
  /** Called with conmon's number once it is there: the place to move it to a cgroup. */
  place?: (pid: number) => Promise<void>
}

/** A container that is created and watched. */
export interface Monitored {
  init: ProcessRef
  monitor: ProcessRef
}

/** A conmon that waits for the word to create. */
export interface WaitingMonitor {
  /**
   * Has it create the container of the bundle's `config.json`.
   *
   * @throws Error with the runtime's reason when the container could not be created. What the runtime left is then for
   *   the caller to delete.
   */
  create(): Promise<Monitored>
  /** Ends it without a container; returns when nothing is done to it any more. */
  cancel(): Promise<void>
}

/**
 * Runs conmon, which creates the container with runc and then watches it on its own.
 *
 * @throws Error as `WaitingMonitor.create`.
 */
export async function createMonitored(options: ConmonOptions): Promise<Monitored> {
  return (await prepareMonitor(options)).create()
}

/** Runs conmon, but not the runtime yet: its start then overlaps with the making of the bundle, whose folder must be there. */
export async function prepareMonitor(options: ConmonOptions): Promise<WaitingMonitor> {
  await Promise.all(
    [options.exitDir, options.persistDir, options.socketDir].map((path) => mkdir(path, { recursive: true })),
  )
  if (options.logPath) await mkdir(dirname(options.logPath), { recursive: true, mode: 0o755 })
  const errors = join(options.bundle, 'conmon.err')
  // A file, not a pipe: conmon outlives this process and must not be killed by a write to it.
  const stderr = openSync(errors, 'w', 0o600)
  let program: Program
  try {
    program = startProgram(options.binary ?? 'conmon', conmonArgs(options), {
      cwd: options.bundle,
      detached: true,
      env: { ...programEnv(), _OCI_SYNCPIPE: '3', _OCI_STARTPIPE: '4' },
      stdio: ['ignore', 'ignore', stderr, 'pipe', 'pipe'],
      inputs: [4],
    })
  } finally {
    closeSync(stderr)
  }
  program.unref()
  crashPoint('container/monitor-spawned')
  const [, , , answers, start] = program.stdio
  if (!answers || !start) throw new Error('conmon: no pipes')
  start.on('error', () => {}) // a conmon that died early says why on the sync pipe or in its error file
  // Takes the kernel some milliseconds; conmon may begin meanwhile.
  const placed = Promise.allSettled([options.place?.(program.pid)])
  const cancel = async (): Promise<void> => {
    program.kill('SIGKILL') // it would go on at the start pipe's end
    start.destroy()
    answers.destroy()
    await placed
  }
  const answer = async (): Promise<Monitored> => {
    writeFileSync(join(options.bundle, 'conmon.pid'), String(program.pid)) // for people: it is where peers have it
    start.end('\0')
    crashPoint('container/monitor-told')
    const { pid, message } = parseSyncLine(await readLine(answers))
    cut.throwIfAborted()
    if (pid <= 0) {
      const reason = runcReason(message ?? (await readText(errors)) ?? '') || noAnswer
      throw new Error(`creating container ${options.id} with ${options.runc.binary}: ${reason}`)
    }
    const [{ reason: cause }] = (await placed) as [{ reason?: Error }]
    if (cause) {
      throw new Error(`creating container ${options.id}: moving its monitor to its cgroup: ${cause.message}`, { cause })
    }
    return { init: reference(pid), monitor: reference(program.pid) }
  }
  const onAbort = (): void => {
    killGroup(program.pid) // with the OCI runtime that it started
    answers.destroy()
  }
  const late = new AbortController()
  const cut = options.signal ? AbortSignal.any([options.signal, late.signal]) : late.signal
  return {
    cancel,
    create: async () => {
      cut.addEventListener('abort', onAbort)
      const { createLimitMs } = options.runc
      const timer = setTimeout(() => late.abort(createTookTooLong(options)), createLimitMs)
      try {
        cut.throwIfAborted()
        return await answer()
      } catch (error) {
        onAbort()
        throw error
      } finally {
        clearTimeout(timer)
        await placed
        cut.removeEventListener('abort', onAbort)
      }
    },
  }
}

function createTookTooLong({ id, runc: { binary, createLimitMs } }: ConmonOptions): Error {
  const seconds = createLimitMs / 1000
  return new Error(
    `creating container ${id}: ${binary} create did not end within ${seconds} s and was killed; find out what it waits for`,
  )
}

/** The command line, without the program. */
export function conmonArgs(options: ConmonOptions): string[] {
  const { id, bundle, runc } = options
  const values: [string, string][] = [
    ['-b', bundle],
    ['-c', id],
    ['-u', id],
    ['-n', options.name],
    ['-r', runc.binary],
    ...runc.globalArgs.map((arg): [string, string] => ['--runtime-arg', arg]),
    ['-l', options.logPath ? `k8s-file:${options.logPath}` : 'none'],
    ['--log-level', 'warning'],
    ['--exit-dir', options.exitDir],
    ['--persist-dir', options.persistDir],
    ['--socket-dir-path', options.socketDir],
    ['-P', join(bundle, 'conmon.pid')],
    ['-p', join(bundle, 'pidfile')],
  ]
  // --sync: it stays the process that was started, instead of forking once more.
  const systemd = runc.globalArgs.includes('--systemd-cgroup') ? ['-s'] : []
  const input = options.terminal ? ['-t'] : options.stdin ? ['-i'] : []
  return [...values.flat(), '--sync', ...systemd, ...input, ...(options.leaveStdinOpen ? ['--leave-stdin-open'] : [])]
}

/** Reads what conmon answers on its sync pipe; a `pid` of −1 is a failure. An empty line is conmon's death. */
export function parseSyncLine(line: string): { pid: number; message?: string } {
  if (line === '') return { pid: -1 }
  const value = syncValue(line)
  const pid = typeof value.pid === 'number' ? value.pid : -1
  return { pid, ...(typeof value.message === 'string' ? { message: value.message } : {}) }
}

function syncValue(line: string): { pid?: unknown; message?: unknown } {
  try {
    return (JSON.parse(line) ?? {}) as { pid?: unknown; message?: unknown }
  } catch {
    return { message: line } // it quotes the OCI runtime's words, which need not be text
  }
}

async function readLine(stream: Readable): Promise<string> {
  let text = ''
  stream.setEncoding('utf8')
  try {
    for await (const chunk of stream) {
      text += chunk as string
      if (text.includes('\n')) break // leaves the loop and closes our end
    }
  } catch (error) {
    if (!stream.destroyed) throw error // by the one who no longer waits, which is as good as its end
  }
  return text.split('\n', 1)[0] ?? ''
}

/** A container's process may have ended already; its number then stays without a living process. */
function reference(pid: number): ProcessRef {
  return processRef(pid) ?? { pid, startTime: 0 }
}
