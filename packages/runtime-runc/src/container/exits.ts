// The end of a container: found, read, stored.
import { watch } from 'node:fs'
import { access, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { onProcessEnd } from '@nodelet/linux'
import { crashPoint } from '../crash-points.ts'
import { isMissing } from '../files.ts'
import { isAlive } from '../pids.ts'
import { isId } from '../record-folders.ts'
import { locked, note, runcOf } from './context.ts'
import type { Context, Entry } from './context.ts'
import { cgroupsOf, deleteFromRuntime, killAll } from './runtime-delete.ts'

/** Between rounds that look for what no event told of, such as a watch that the kernel had no room for. */
const ROUND_MS = 30_000
/** How long others of a container may hold its output after its first process has ended. */
const GRACE_MS = 1000
/** The exit code of what SIGKILL ended. */
const KILLED = 137

/** Watches for exit files until disposed. */
export function watchExits(context: Context): Disposable {
  const watcher = watch(context.folders.exits, (_, name) => {
    const entry = name !== null && isId(name) ? context.entries.get(name) : undefined
    if (entry) report(context, settleExit(context, entry))
  })
  watcher.on('error', context.onProblem)
  const timer = setInterval(() => {
    for (const entry of context.entries.values()) report(context, lookAgain(context, entry))
  }, ROUND_MS).unref()
  return {
    [Symbol.dispose]: () => {
      watcher.close()
      clearInterval(timer)
      for (const entry of context.entries.values()) entry.watch?.[Symbol.dispose]()
    },
  }
}

/** Watches the processes of a container that is made: a monitor that is killed leaves no exit file. */
export function watchProcesses(context: Context, entry: Entry): void {
  const { monitor, init, ownPidNamespace } = entry.record
  if (!monitor || !init) return
  const watches = new DisposableStack()
  entry.watch?.[Symbol.dispose]()
  entry.watch = watches
  try {
    watches.use(onProcessEnd(monitor.pid, () => report(context, settleEnd(context, entry))))
    // Its end is the end of all when it has a PID namespace of its own.
    if (!ownPidNamespace) {
      watches.use(onProcessEnd(init.pid, () => report(context, endOthers(context, entry, watches))))
      if (!isAlive(init)) report(context, endOthers(context, entry, watches))
    }
    if (!isAlive(monitor)) report(context, settleEnd(context, entry)) // the number may be another's by now
  } catch (error) {
    context.onProblem(error as Error) // the rounds find out later
  }
}

/** Stores the end of a container if its exit file is there. */
export async function settleExit(context: Context, entry: Entry): Promise<void> {
  await locked(entry, async () => storeExit(context, entry))
}

/** Its monitor has ended: the exit file is there, for it is written before, or will never be. */
export async function settleEnd(context: Context, entry: Entry): Promise<void> {
  await locked(entry, async () => {
    await storeExit(context, entry)
    if (!goesOn(context, entry)) return
    const message = `the container's monitor (conmon, process ${entry.record.monitor?.pid}) was killed: its exit code is lost`
    await finishUnknown(context, entry, message)
  })
}

/** Stores an end that nobody saw, after killing what may still run. */
export async function finishUnknown(context: Context, entry: Entry, message: string): Promise<void> {
  await finish(context, entry, { exitCode: 255, finishedAt: Date.now(), reason: 'Unknown', message })
}

async function storeExit(context: Context, entry: Entry): Promise<void> {
  if (!goesOn(context, entry)) return
  const { id } = entry.record
  const path = join(context.folders.exits, id)
  const exit = await readExit(path)
  if (!exit) return
  crashPoint('container/exit-read')
  if (exit.code === undefined) {
    const message = `${path} has ${JSON.stringify(exit.text)} instead of an exit code: it is lost`
    return finish(context, entry, { exitCode: 255, finishedAt: exit.at, reason: 'Unknown', message })
  }
  const oom =
    (await exists(join(context.folders.bundles, id, 'oom'))) ||
    (exit.code === KILLED && (await wantedMemory(context, id)))
  const reason = oom ? 'OOMKilled' : exit.code === 0 ? 'Completed' : 'Error'
  return finish(context, entry, { exitCode: exit.code, finishedAt: exit.at, reason })
}

/** Whether the kernel killed for want of memory in its cgroup: conmon may end before it is told so. */
async function wantedMemory(context: Context, id: string): Promise<boolean> {
  const cgroup = (await cgroupsOf(context, id))?.own
  if (cgroup === undefined || !(await context.cgroups.exists(cgroup))) return false
  return ((await context.cgroups.stats(cgroup)).memory?.oomKills ?? 0) > 0
}

async function finish(context: Context, entry: Entry, end: Partial<Entry['record']>): Promise<void> {
  await deleteFromRuntime(context, entry.record.id, runcOf(context, entry.record))
  crashPoint('container/runtime-deleted')
  await note(context, entry, { phase: 'exited', ...end })
  crashPoint('container/exited')
  entry.watch?.[Symbol.dispose]()
  entry.exited.resolve()
  context.emit({ type: 'stopped', container: entry.record })
}

/** Others of the container that outlived its first process may hold its output: the monitor would wait for ever. */
async function endOthers(context: Context, entry: Entry, watches: DisposableStack): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, GRACE_MS).unref())
  if (watches.disposed || !goesOn(context, entry)) return
  await killAll(context, entry.record.id, runcOf(context, entry.record))
}

async function lookAgain(context: Context, entry: Entry): Promise<void> {
  if (entry.unsaved) await locked(entry, () => note(context, entry, {}))
  if (!goesOn(context, entry)) return
  const { monitor } = entry.record
  await (monitor && !isAlive(monitor) ? settleEnd(context, entry) : settleExit(context, entry))
}

/** Whether it has not ended yet, as far as is known. */
const goesOn = ({ entries }: Context, entry: Entry): boolean =>
  (entry.record.phase === 'running' || entry.record.phase === 'created') && entries.get(entry.record.id) === entry

function report(context: Context, work: Promise<void>): void {
  work.catch((error: unknown) => context.onProblem(error instanceof Error ? error : new Error(String(error))))
}

interface Exit {
  /** Undefined when the file has something else. */
  code: number | undefined
  text: string
  /** When conmon wrote it. */
  at: number
}

/** Undefined while the file is not there. */
async function readExit(path: string): Promise<Exit | undefined> {
  try {
    const [text, { mtimeMs }] = await Promise.all([readFile(path, 'utf8'), stat(path)])
    return {
      code: /^\d{1,3}\s*$/.test(text) ? Number.parseInt(text, 10) : undefined,
      text: text.slice(0, 100),
      at: mtimeMs,
    }
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path)
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}
