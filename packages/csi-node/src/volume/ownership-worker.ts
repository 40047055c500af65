// Gives a large volume to a group, in a thread of its own: all that it does waits.
import { chmodSync, lchownSync, lstatSync, opendirSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { groupMode } from './ownership-bits.ts'
import type { OwnershipMessage, OwnershipTask } from './ownership.ts'

const { root, gid, others } = workerData as OwnershipTask
const tell = (message: OwnershipMessage): void => parentPort?.postMessage(message)
/** So many files between two words of how far it is. */
const step = 1000
/** Of failures that are told: a volume that refuses everything would be told of for ever. */
const mostFailures = 1000
const slash = Buffer.from('/')
let [count, failures] = [0, 0]

/** Children first. Paths are bytes: names need not be UTF-8. */
function give(path: Buffer): void {
  if (others.has(path.toString())) return
  try {
    const stats = lstatSync(path)
    if (stats.isDirectory()) giveAllIn(path)
    if (stats.gid !== gid) lchownSync(path, stats.uid, gid)
    const mode = groupMode(stats, gid)
    if (mode !== undefined) chmodSync(path, mode)
    if (++count % step === 0) tell({ count })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || ++failures > mostFailures) return
    tell({ failed: { path: path.toString(), error: error as Error } })
  }
}

function giveAllIn(path: Buffer): void {
  // Its types do not know that it takes bytes.
  const folder = opendirSync(path as unknown as string, { encoding: 'buffer' as BufferEncoding })
  try {
    for (let entry = folder.readSync(); entry; entry = folder.readSync()) {
      give(Buffer.concat([path, slash, entry.name as unknown as Buffer]))
    }
  } finally {
    folder.closeSync()
  }
}

give(Buffer.from(root))
tell({ count, isDone: true })
