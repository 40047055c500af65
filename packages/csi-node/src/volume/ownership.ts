// fsGroup: the group that owns what is in a volume.
import { chmod, lchown, lstat, opendir } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'
import { readMountInfo } from '@nodelet/linux'
import { hasCode } from '../errors.ts'
import { folderBits, groupMode } from './ownership-bits.ts'

/** A thread of its own costs some 20 ms and 10 MB. */
const usuallyHere = 2_000
/** Of one folder so many entries are changed at a time. */
const width = 16
const [firstTellMs, tellMs] = [30_000, 60_000]

export interface OwnershipOptions {
  gid: number
  /** `OnRootMismatch`: nothing is changed when the root is as it should be. Default: `Always`. */
  policy?: string | undefined
  signal?: AbortSignal | undefined
  /** So many files are given from here; more of them are, all, by a thread of their own. Default: 2,000. */
  mostHere?: number | undefined
  /** Told of a file that could not be changed; without it the first one is thrown. */
  failed?: ((path: string, error: unknown) => void) | undefined
  /** Told how many files were changed, when it takes long: after half a minute, and then each minute. */
  progress?: ((count: number) => void) | undefined
}

/** What the thread is given. */
export interface OwnershipTask {
  root: string
  gid: number
  /** Where others are mounted in it: they are not entered. */
  others: ReadonlySet<string>
}

/** What it tells. */
export interface OwnershipMessage {
  count?: number
  failed?: { path: string; error: Error }
  isDone?: boolean
}

/**
 * Gives a volume to a group: read and write for it, and new files inherit it. Children first, the root last, so that it is right only
 * when all is; links are not followed, and what is mounted in the volume is not its own.
 */
export async function giveToGroup(root: string, options: OwnershipOptions): Promise<void> {
  if (options.policy === 'OnRootMismatch' && (await matches(root, options.gid))) return
  const others = new Set((await readMountInfo('self', { below: root })).map(({ mountPoint }) => mountPoint))
  others.delete(root)
  const walk: Walk = { ...options, others, count: 0, seen: 0 }
  let timer: NodeJS.Timeout | undefined
  const tell = (): void => {
    walk.progress?.(walk.count)
    timer = setTimeout(tell, tellMs).unref()
  }
  if (walk.progress) timer = setTimeout(tell, firstTellMs).unref()
  try {
    if (!(await give(Buffer.from(root), walk))) await giveApart(root, walk)
  } finally {
    clearTimeout(timer)
  }
}

interface Walk extends OwnershipOptions, Pick<OwnershipTask, 'others'> {
  count: number
  /** Files found. */
  seen: number
}

async function matches(root: string, gid: number): Promise<boolean> {
  const stats = await lstat(root)
  return stats.gid === gid && (stats.mode & folderBits) === folderBits
}

/** Paths are bytes: names need not be UTF-8. @returns false: there are too many, and the root is not given */
async function give(path: Buffer, walk: Walk): Promise<boolean> {
  walk.signal?.throwIfAborted()
  if (walk.others.has(path.toString())) return true
  try {
    const stats = await lstat(path)
    if (stats.isDirectory() && !(await giveAllIn(path, walk))) return false
    if (stats.gid !== walk.gid) await lchown(path, stats.uid, walk.gid)
    const mode = groupMode(stats, walk.gid)
    if (mode !== undefined) await chmod(path, mode)
    walk.count++
  } catch (error) {
    walk.signal?.throwIfAborted()
    // Containers of the pod may be at work in the volume.
    if (hasCode(error, 'ENOENT')) return true
    if (!walk.failed) throw error
    walk.failed(path.toString(), error)
  }
  return true
}

async function giveAllIn(path: Buffer, walk: Walk): Promise<boolean> {
  const names: Buffer[] = []
  // Its types do not know that it takes bytes.
  const folder = await opendir(path as unknown as string, { encoding: 'buffer' as BufferEncoding })
  for await (const { name } of folder) {
    if (++walk.seen > (walk.mostHere ?? usuallyHere)) return false
    names.push(name as unknown as Buffer)
  }
  for (let begin = 0; begin < names.length; begin += width) {
    const some = names.slice(begin, begin + width)
    const given = await Promise.all(some.map(async (name) => give(Buffer.concat([path, slash, name]), walk)))
    if (given.includes(false)) return false
  }
  return true
}

const slash = Buffer.from('/')

// Run from sources the file is TypeScript, from a build it is not.
const file = new URL(`./ownership-worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url)

/** All of it again, by a thread. @throws the signal's reason; the first failure that nobody is told of */
async function giveApart(root: string, walk: Walk): Promise<void> {
  const { gid, signal, others } = walk
  walk.count = 0
  const task: OwnershipTask = { root, gid, others }
  // Flags of V8, fine for a process, are refused of a worker.
  const execArgv = process.execArgv.filter((option) => /^(--conditions|-C)=/.test(option))
  const worker = new Worker(file, { workerData: task, execArgv })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  worker.on('message', ({ count, failed, isDone }: OwnershipMessage) => {
    if (count !== undefined) walk.count = count
    if (failed && walk.failed) walk.failed(failed.path, failed.error)
    else if (failed) reject(failed.error)
    if (isDone) resolve()
  })
  worker.on('error', reject)
  worker.on('exit', (code) =>
    reject(new Error(`the thread that gives ${root} to group ${gid} ended with status ${code}`)),
  )
  const end = (): void => reject(signal?.reason)
  signal?.addEventListener('abort', end, { once: true })
  try {
    await promise
  } finally {
    signal?.removeEventListener('abort', end)
    await worker.terminate()
  }
}
