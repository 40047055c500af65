// Programs as child processes, started by posix_spawn: fork, which Node's own spawn uses, copies the page tables of this
// process, which blocks the event loop for some 5 ms per 100 MB of memory.
import { closeSync, existsSync, openSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { isMainThread } from 'node:worker_threads'
import { watchChild } from './children.ts'
import type { Ended } from './children.ts'
import { LinuxError } from './errors.ts'
import { call, callSpawn } from './libc.ts'
import { inNamespace } from './namespaces.ts'

/** What a descriptor of the child is: /dev/null, a pipe to this process, or one of this process. */
export type ProgramStdio = 'ignore' | 'pipe' | number

export interface ProgramOptions {
  /** All of the child's environment. Default: this process's. */
  env?: Readonly<Record<string, string | undefined>>
  cwd?: string
  /** Descriptors from 0 on. Input of a pipe: the child's 0, and what is named in `inputs`. Default: all ignored. */
  stdio?: readonly ProgramStdio[]
  /** Pipes that this process writes to; default: 0. */
  inputs?: readonly number[]
  /** A session of its own: signals for this process's terminal do not reach it. */
  detached?: boolean
  /** Path of the network namespace that it starts in; default: this process's. */
  netns?: string
  /** Kills it when aborted. */
  signal?: AbortSignal
}

/** A program that was started. */
export interface Program {
  readonly pid: number
  /** This process's ends of the pipes. */
  readonly stdio: readonly (Socket | undefined)[]
  readonly stdin: Writable | undefined
  readonly stdout: Readable | undefined
  readonly stderr: Readable | undefined
  /** Its end. Output may still be on the way. */
  readonly ended: Promise<Ended>
  /** False when it has ended. */
  kill(signal: NodeJS.Signals): boolean
  /** This process may end before it, and leave it running. */
  unref(): void
}

const flag = { setSignalDefaults: 0x04, setSignalMask: 0x08, setSession: 0x80 }
const usualPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const closeOnExec = 0o2000000
/** More than any libc needs for its structures. */
const structureBytes = 512
const signalSetBytes = 128
const [noSignals, allSignals] = [Buffer.alloc(signalSetBytes), Buffer.alloc(signalSetBytes, 0xff)]

/**
 * Starts a program, which is looked for on the PATH that it gets unless its name has a slash.
 *
 * @throws LinuxError such as `ENOENT: posix_spawn NAME` when it cannot be started, the signal's reason when aborted,
 *   Error on any but the main thread.
 */
export function startProgram(file: string, args: readonly string[], options: ProgramOptions = {}): Program {
  const { env = process.env, cwd, stdio = [], inputs = [0], detached = false, netns, signal } = options
  if (!isMainThread) throw new Error(`starting ${file}: only the main thread hears of its end; start it from there`)
  signal?.throwIfAborted()
  const opened: number[] = []
  const ours: (number | undefined)[] = []
  try {
    const theirs = stdio.map((kind, at) => {
      if (typeof kind === 'number') return kind
      const [ends, mine] = kind === 'pipe' ? openPipe(inputs.includes(at)) : [openSync('/dev/null', 'r+'), undefined]
      opened.push(ends)
      ours[at] = mine
      return ends
    })
    const path = onPath(file, env['PATH'])
    const run = (): number => spawn(path, args, theirs, { env, cwd, detached })
    const pid = netns === undefined ? run() : inNamespace('net', netns, run)
    return program(pid, stdio.length, ours, inputs, signal)
  } catch (error) {
    for (const fd of ours) if (fd !== undefined) closeSync(fd)
    throw error
  } finally {
    for (const fd of opened) closeSync(fd)
  }
}

function onPath(file: string, path: string | undefined): string {
  if (file.includes('/')) return file
  const found = (path ?? usualPath).split(':').find((folder) => existsSync(join(folder, file)))
  if (found === undefined) throw new LinuxError('ENOENT', 'posix_spawn', file, 'install it, or name its path')
  return join(found, file)
}

/** The child's end and this process's. */
function openPipe(isInput: boolean): [theirs: number, ours: number] {
  const ends = Buffer.alloc(8)
  call('pipe2', 'pipe', ends, closeOnExec)
  const [read, write] = [ends.readInt32LE(0), ends.readInt32LE(4)]
  return isInput ? [read, write] : [write, read]
}

interface SpawnInput {
  env: Readonly<Record<string, string | undefined>>
  cwd: string | undefined
  detached: boolean
}

function spawn(
  file: string,
  args: readonly string[],
  fds: readonly number[],
  { env, cwd, detached }: SpawnInput,
): number {
  const [actions, attributes, pid] = [Buffer.alloc(structureBytes), Buffer.alloc(structureBytes), Buffer.alloc(4)]
  callSpawn('posix_spawn_file_actions_init', file, actions)
  callSpawn('posix_spawnattr_init', file, attributes)
  try {
    // Descriptors of this process are above those of the child: none is overwritten before it is copied.
    fds.forEach((fd, at) => callSpawn('posix_spawn_file_actions_adddup2', file, actions, fd, at))
    if (cwd !== undefined) callSpawn('posix_spawn_file_actions_addchdir_np', file, actions, cwd)
    // Node ignores SIGPIPE, and what is ignored stays so in a child.
    callSpawn('posix_spawnattr_setsigdefault', file, attributes, allSignals)
    callSpawn('posix_spawnattr_setsigmask', file, attributes, noSignals)
    const flags = flag.setSignalDefaults | flag.setSignalMask | (detached ? flag.setSession : 0)
    callSpawn('posix_spawnattr_setflags', file, attributes, flags)
    const variables = Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : `${name}=${value}`))
    callSpawn('posix_spawn', file, pid, file, actions, attributes, [file, ...args, null], [...variables, null])
    return pid.readInt32LE(0)
  } finally {
    callSpawn('posix_spawnattr_destroy', file, attributes)
    callSpawn('posix_spawn_file_actions_destroy', file, actions)
  }
}

function program(
  pid: number,
  count: number,
  ours: (number | undefined)[],
  inputs: readonly number[],
  signal: AbortSignal | undefined,
): Program {
  const child = watchChild(pid)
  const stdio = Array.from({ length: count }, (_, at) => {
    const fd = ours[at]
    ours[at] = undefined // the socket's to close from here on
    if (fd === undefined) return undefined
    const isInput = inputs.includes(at)
    return new Socket({ fd, readable: !isInput, writable: isInput })
  })
  const onAbort = (): void => void child.kill('SIGKILL')
  signal?.addEventListener('abort', onAbort)
  void child.ended.then(() => signal?.removeEventListener('abort', onAbort))
  const [stdin, stdout, stderr] = stdio
  return { pid, stdio, stdin, stdout, stderr, ...child }
}

/** Waits for a program's end and for all of its output, as text. */
export async function finished({
  stdout,
  stderr,
  ended,
}: Program): Promise<Ended & { stdout: string; stderr: string }> {
  const all = async (stream: Readable | undefined): Promise<string> => (stream ? text(stream) : '')
  const [out, err, end] = await Promise.all([all(stdout), all(stderr), ended])
  return { ...end, stdout: out, stderr: err }
}
