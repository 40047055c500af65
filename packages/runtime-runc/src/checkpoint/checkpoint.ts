// A running container's processes, memory and files in an archive, from which it may go on elsewhere.
import { copyFile, mkdir, rm } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { entryOf, locked, replace, runcOf, update } from '../container/context.ts'
import type { Context, Entry } from '../container/context.ts'
import { crashPoint } from '../crash-points.ts'
import { findProgram } from '../exec-file.ts'
import { isMissing, readText, removeTree } from '../files.ts'
import type { OciSpec } from '../spec/oci.ts'
import { describe, pack, partialName } from './archive.ts'
import { dumpFailure } from './dump-log.ts'

/**
 * Writes a checkpoint of a container, which goes on afterwards, to an uncompressed tar file. It stands still meanwhile.
 *
 * @throws CriError NOT_FOUND; FAILED_PRECONDITION when it does not run or criu is not installed; INVALID_ARGUMENT for a
 *   location that is no absolute path.
 * @throws Error with criu's reason. The container then goes on, and there is no archive.
 */
export async function checkpoint(context: Context, id: string, location: string, signal?: AbortSignal): Promise<void> {
  const entry = entryOf(context, id)
  if (!isAbsolute(location)) {
    throw new CriError('INVALID_ARGUMENT', `checkpoint location "${location}": name an absolute path for the archive`)
  }
  try {
    await findProgram('criu') // the OCI runtime looks for it, too
  } catch (cause) {
    const message = `checkpointing container ${id} needs the program criu (3.16 or newer), which is not on the PATH: install it`
    throw new CriError('FAILED_PRECONDITION', message, { cause })
  }
  await locked(entry, async () => {
    const { phase, removing } = entry.record
    if (phase !== 'running' || removing) {
      const state = removing ? 'being removed' : phase
      throw new CriError('FAILED_PRECONDITION', `container ${id} is ${state}: only a running one can be checkpointed`)
    }
    const ended = new AbortController()
    entry.standstill = ended
    try {
      await update(context, entry, { checkpointTo: location })
      crashPoint('checkpoint/recorded')
      await make(context, entry, location, AbortSignal.any([ended.signal, ...(signal ? [signal] : [])]))
    } finally {
      delete entry.standstill
      await endCheckpoint(context, entry)
    }
  })
}

/** Has the container go on and takes away what is not the archive; also after a crash. */
export async function endCheckpoint(context: Context, entry: Entry): Promise<void> {
  const { checkpointTo, ...settled } = entry.record
  if (checkpointTo === undefined) return
  const { id } = settled
  const runc = runcOf(context, settled)
  const state = await runc.state(id)
  if (state?.status === 'paused') await runc.resume(id)
  crashPoint('checkpoint/resumed')
  await removeTree(folderOf(context, id))
  await rm(partialName(checkpointTo), { force: true })
  await replace(context, entry, settled)
}

const folderOf = ({ folders }: Context, id: string): string => join(folders.containers, id, 'checkpoint')

async function make(context: Context, entry: Entry, location: string, signal: AbortSignal): Promise<void> {
  const { id } = entry.record
  const runc = runcOf(context, entry.record)
  const folder = folderOf(context, id)
  const images = join(folder, 'checkpoint')
  await removeTree(folder)
  await mkdir(images, { recursive: true, mode: 0o700 })
  signal.throwIfAborted()
  await runc.pause(id)
  crashPoint('checkpoint/paused')
  try {
    await runc.checkpoint(id, { images, work: folder }, signal)
  } catch (cause) {
    signal.throwIfAborted()
    throw await explained(context, id, folder, cause as Error)
  }
  crashPoint('checkpoint/dumped')
  const text = (await readText(join(context.folders.bundles, id, 'config.json'))) ?? ''
  await describe(folder, entry.record, JSON.parse(text) as OciSpec, runc.binary, signal)
  await pack(folder, location, signal)
  crashPoint('checkpoint/packed')
}

/** criu's log stays with the container, for those who want more than its reason. */
async function explained(context: Context, id: string, folder: string, cause: Error): Promise<Error> {
  const log = join(folder, 'dump.log')
  const kept = join(context.folders.containers, id, 'dump.log')
  const reason = dumpFailure((await readText(log)) ?? '')
  if (reason === undefined) return new Error(`checkpointing container ${id}: ${cause.message}`, { cause })
  try {
    await copyFile(log, kept)
  } catch (error) {
    if (!isMissing(error)) throw error
  }
  return new Error(`checkpointing container ${id}: criu: ${reason}; its whole log is ${kept}`, { cause })
}
