// The end of a container: found, read, stored.
import { watch } from 'node:fs'
import { access, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isMissing } from '../files.ts'
import { isAlive } from '../pids.ts'
import { locked, update } from './context.ts'
import type { Context, Entry } from './context.ts'
import { isContainerId } from './store.ts'

const REPAIR_MS = 2000
/** How long a monitor may take between its end and the appearance of the exit file, or after its container's end. */
const GRACE_MS = 1000

/** Watches for exit files until disposed; a slow round finds what no file will tell: monitors that were killed. */
export function watchExits(context: Context): Disposable {
  const report = (work: Promise<void>): void =>
    void work.catch((error: unknown) => context.onProblem(error instanceof Error ? error : new Error(String(error))))
  const watcher = watch(context.folders.exits, (_, name) => {
    const entry = name !== null && isContainerId(name) ? context.entries.get(name) : undefined
    if (entry) report(settleExit(context, entry))
  })
  watcher.on('error', context.onProblem)
  const timer = setInterval(() => {
    for (const entry of context.entries.values()) report(repair(context, entry))
  }, REPAIR_MS).unref()
  return {
    [Symbol.dispose]: () => {
      watcher.close()
      clearInterval(timer)
    },
  }
}

/** Stores the end of a container if its exit file is there. */
export async function settleExit(context: Context, entry: Entry): Promise<void> {
  await locked(entry, async () => {
    const { id, phase } = entry.record
    if ((phase !== 'running' && phase !== 'created') || context.entries.get(id) !== entry) return
    const exit = await readExit(join(context.folders.exits, id))
    if (!exit) return
    const oom = await exists(join(context.folders.bundles, id, 'oom'))
    const reason = oom ? 'OOMKilled' : exit.code === 0 ? 'Completed' : 'Error'
    await finish(context, entry, { exitCode: exit.code, finishedAt: exit.at, reason })
  })
}

/** Stores an end that nobody saw. */
export async function finishUnknown(context: Context, entry: Entry, message: string): Promise<void> {
  await finish(context, entry, { exitCode: 255, finishedAt: Date.now(), reason: 'Unknown', message })
}

async function finish(context: Context, entry: Entry, end: Partial<Entry['record']>): Promise<void> {
  await context.runc.delete(entry.record.id, { force: true })
  await update(context, entry, { phase: 'exited', ...end })
  entry.exited.resolve()
  context.emit({ type: 'stopped', container: entry.record })
}

async function repair(context: Context, entry: Entry): Promise<void> {
  const { id, phase, monitor, init, ownPidNamespace } = entry.record
  if (phase !== 'running' && phase !== 'created') return
  await settleExit(context, entry)
  if (!monitor || !init || entry.record.phase === 'exited') return
  if (!isAlive(monitor)) return settleOrphan(context, entry)
  if (ownPidNamespace || isAlive(init)) return
  // Others of the container outlived its first process and hold its output: the monitor would wait for them for ever.
  entry.initGoneAt ??= Date.now()
  if (Date.now() - entry.initGoneAt >= GRACE_MS) await context.runc.kill(id, 'SIGKILL', { all: true })
}

async function settleOrphan(context: Context, entry: Entry): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, GRACE_MS))
  await settleExit(context, entry)
  await locked(entry, async () => {
    const { id, phase, monitor } = entry.record
    if ((phase !== 'running' && phase !== 'created') || context.entries.get(id) !== entry) return
    await finishUnknown(
      context,
      entry,
      `the container's monitor (conmon, process ${monitor?.pid}) was killed: its exit code is lost`,
    )
  })
}

/** The exit code and the time at which conmon wrote it; undefined while the file is not there. */
async function readExit(path: string): Promise<{ code: number; at: number } | undefined> {
  try {
    const [text, { mtimeMs }] = await Promise.all([readFile(path, 'utf8'), stat(path)])
    const code = Number.parseInt(text, 10)
    return { code: Number.isNaN(code) ? 255 : code, at: mtimeMs }
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
