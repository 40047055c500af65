// conmon: one small process per container, which owns its output, terminal and exit code.
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { startProgram } from '@nodelet/linux'
import type { Program } from '@nodelet/linux'
import { programEnv } from './exec-file.ts'
import { readText } from './files.ts'
import { processRef } from './pids.ts'
import type { ProcessRef } from './pids.ts'
import type { Runc } from './runc.ts'
import { runcReason } from './runc.ts'
import { crashPoint } from './crash-points.ts'

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
    options.signal?.throwIfAborted()
    if (pid <= 0) {
      const reason = runcReason(message ?? (await readText(errors)) ?? '') || 'conmon ended without an answer'
      throw new Error(`creating container ${options.id} with ${options.runc.binary}: ${reason}`)
    }
    const [{ reason: cause }] = (await placed) as [{ reason?: Error }]
    if (cause) {
      throw new Error(`creating container ${options.id}: moving its monitor to its cgroup: ${cause.message}`, { cause })
    }
    return { init: reference(pid), monitor: reference(program.pid) }
  }
  const onAbort = (): void => void program.kill('SIGKILL')
  return {
    cancel,
    create: async () => {
      options.signal?.addEventListener('abort', onAbort)
      try {
        return await answer()
      } finally {
        await placed
        options.signal?.removeEventListener('abort', onAbort)
      }
    },
  }
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
  const value = JSON.parse(line) as { pid?: unknown; message?: unknown }
  const pid = typeof value.pid === 'number' ? value.pid : -1
  return { pid, ...(typeof value.message === 'string' ? { message: value.message } : {}) }
}

async function readLine(stream: Readable): Promise<string> {
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) {
    text += chunk as string
    if (text.includes('\n')) break // leaves the loop and closes our end
  }
  return text.split('\n', 1)[0] ?? ''
}

/** A container's process may have ended already; its number then stays without a living process. */
function reference(pid: number): ProcessRef {
  return processRef(pid) ?? { pid, startTime: 0 }
}
