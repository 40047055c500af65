// The files beside criu's own in a checkpoint, by the names that other runtimes and checkpointctl know.
import { copyFile, lstat, open, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { execFile } from '../exec-file.ts'
import { isMissing, syncFolder } from '../files.ts'
import type { ContainerRecord } from '../container/record.ts'
import type { OciSpec } from '../spec/oci.ts'
import { readRootfsDiff } from './rootfs-diff.ts'

/** Where an archive is until it is whole. */
export const partialName = (location: string): string => join(dirname(location), `.${basename(location)}.partial`)

/** Writes what tells how to make the container again. It must not run meanwhile. */
export async function describe(
  folder: string,
  record: Readonly<ContainerRecord>,
  spec: OciSpec,
  runtime: string,
  signal: AbortSignal,
): Promise<void> {
  const write = async (name: string, value: unknown): Promise<void> =>
    writeFile(join(folder, name), JSON.stringify(value), { mode: 0o600 })
  await write('spec.dump', spec)
  await write('config.dump', configDump(record, runtime))
  await write('status.dump', statusDump(record))
  await write('bind.mounts', await bindMounts(spec))
  await copyIfThere(record.logPath, join(folder, 'container.log'))
  const except = new Set(spec.mounts.map(({ destination }) => join(destination)))
  const diff = await readRootfsDiff(record.rootfs, except)
  if (!diff) return
  await write('deleted.files', diff.deleted)
  const list = join(folder, 'changed.list')
  await writeFile(list, diff.changed.map((path) => `${path}\0`).join(''), { mode: 0o600 })
  const attributes = ['--xattrs', '--xattrs-include=*', '--xattrs-exclude=trusted.overlay.*', '--numeric-owner']
  const files = ['-C', diff.upper, '--no-recursion', '--null', '--verbatim-files-from', '-T', list]
  await tar(['-cf', join(folder, 'rootfs-diff.tar'), ...attributes, ...files], signal)
  await rm(list)
}

/** Packs the folder; the archive is there whole or not at all. */
export async function pack(folder: string, location: string, signal: AbortSignal): Promise<void> {
  const partial = partialName(location)
  await writeFile(partial, '', { mode: 0o600 })
  await tar(['-cf', partial, '--numeric-owner', '-C', folder, '.'], signal)
  {
    await using file = await open(partial, 'r')
    await file.sync()
  }
  await rename(partial, location)
  await syncFolder(dirname(location))
}

async function tar(args: readonly string[], signal: AbortSignal): Promise<void> {
  const { code, stderr } = await execFile('tar', args, signal)
  if (code !== 0) throw new Error(`tar ${args.slice(0, 2).join(' ')}: ${stderr.trim() || `status ${code}`}`)
}

/** @see checkpoint-restore/checkpointctl, metadata.ContainerConfig */
function configDump(record: Readonly<ContainerRecord>, runtime: string): object {
  const { id, config, imageName, imageId = '', imageRef = imageId, createdAt } = record
  return {
    id,
    name: config.metadata?.name ?? id,
    rootfsImage: imageId,
    rootfsImageRef: imageRef,
    rootfsImageName: imageName,
    runtime: basename(runtime),
    createdTime: new Date(createdAt).toISOString(),
    checkpointedTime: new Date().toISOString(),
    restoredTime: '0001-01-01T00:00:00Z', // Go's word for never
    restored: false,
  }
}

function statusDump({ createdAt, startedAt, init }: Readonly<ContainerRecord>): object {
  const nanoseconds = (milliseconds = 0): number => Math.round(milliseconds * 1e6)
  return {
    CreatedAt: nanoseconds(createdAt),
    StartedAt: nanoseconds(startedAt),
    FinishedAt: 0,
    ExitCode: 0,
    Pid: init?.pid ?? 0,
    Reason: '',
    Message: '',
  }
}

/** What must be there, as file or folder, before a restore. */
async function bindMounts({ mounts }: OciSpec): Promise<object[]> {
  const binds = mounts.filter(({ type, options }) => type === 'bind' || options.includes('rbind'))
  return Promise.all(
    binds.map(async ({ source, destination }) => {
      const found = await lstat(source)
      return {
        source,
        destination,
        file_type: found.isDirectory() ? 'directory' : 'file',
        permissions: found.mode & 0o777,
      }
    }),
  )
}

async function copyIfThere(from: string | undefined, to: string): Promise<void> {
  if (from === undefined) return
  try {
    await copyFile(from, to)
  } catch (error) {
    if (!isMissing(error)) throw error // rotated away, or nothing was written
  }
}
