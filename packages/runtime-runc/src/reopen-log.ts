// Log rotation: a container's monitor is told that its log was moved away.
import { constants } from 'node:fs'
import { open, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { crashPoint } from './crash-points.ts'
import { isMissing, readText } from './files.ts'
import { processRef } from './pids.ts'

const WAIT_MS = 2000
const LOOK_MS = 5

/** The last call for each bundle: conmon is told by one at a time. */
const turns = new Map<string, Promise<void>>()

/**
 * Makes conmon open its log anew, as after a rotation, and returns when it writes to the file of that name. Nothing
 * happens when it does so already: conmon puts a new file in the place of one that is there, and its lines would be lost.
 *
 * @throws Error when no conmon listens, it ends meanwhile, or has not made the file within two seconds.
 */
export async function reopenLog(bundle: string, logPath: string, signal?: AbortSignal): Promise<void> {
  const before = turns.get(bundle)
  const turn = Promise.allSettled([before]).then(() => reopen(bundle, logPath, signal))
  turns.set(bundle, turn)
  try {
    await turn
  } finally {
    if (turns.get(bundle) === turn) turns.delete(bundle)
  }
}

async function reopen(bundle: string, logPath: string, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted()
  const monitor = Number((await readText(join(bundle, 'conmon.pid'))) ?? 0)
  if (await writesTo(monitor, logPath)) return
  await makeReady(logPath)
  try {
    await using control = await open(join(bundle, 'ctl'), constants.O_WRONLY | constants.O_NONBLOCK)
    await control.write('2 0 0\n')
    crashPoint('log/told')
  } catch (error) {
    await rm(`${logPath}.tmp`, { force: true })
    throw new Error(`reopening log ${logPath}: no conmon listens on ${bundle}/ctl; is the container running?`, {
      cause: error,
    })
  }
  for (const deadline = Date.now() + WAIT_MS; Date.now() < deadline; await sleep(LOOK_MS, undefined, { signal })) {
    if (await writesTo(monitor, logPath)) return
    if (!processRef(monitor))
      throw new Error(`reopening log ${logPath}: the container has just ended, and conmon with it`)
  }
  throw new Error(`reopening log ${logPath}: conmon did not make it within 2 s; does it still run?`)
}

/** Makes the file that conmon opens and renames, for a conmon that cannot make it ends, and its container with it. */
async function makeReady(logPath: string): Promise<void> {
  try {
    await writeFile(`${logPath}.tmp`, '', { flag: 'a', mode: 0o640 })
  } catch (cause) {
    throw new Error(`reopening log ${logPath}: ${(cause as Error).message}; the container writes to the old one`, {
      cause,
    })
  }
}

/** Whether the process has the very file open that has this name now. */
async function writesTo(pid: number, path: string): Promise<boolean> {
  const file = await identity(path)
  if (file === undefined || pid <= 0) return false
  const folder = `/proc/${pid}/fd`
  const names = await unlessMissing(readdir(folder))
  const open = await Promise.all((names ?? []).map((name) => identity(join(folder, name))))
  return open.includes(file)
}

async function identity(path: string): Promise<string | undefined> {
  const found = await unlessMissing(stat(path, { bigint: true }))
  return found && `${found.dev}:${found.ino}`
}

async function unlessMissing<T>(value: Promise<T>): Promise<T | undefined> {
  try {
    return await value
  } catch (error) {
    if (isMissing(error)) return undefined // the process, or the file, has gone
    throw error
  }
}
