// Which ids of the node belong to which pod with a user namespace of its own. Each has a file in the pod's folder.
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { IDMapping } from '@nodelet/cri-api'
import { z } from 'zod'
import type { IdRange } from './subordinate-ids.ts'
import { isPodUid } from '../volume/folders.ts'

/** How many users, and how many groups, a pod has at least; the node itself has as many. */
const block = 65_536

export interface UserNamespaces {
  /**
   * The pod's ids, users and groups alike. A pod that has some keeps them, also over restarts.
   *
   * @throws Error when all are given away, or they cannot be recorded
   */
  take(podUid: string): Promise<IDMapping>
  /** Lets the pod's ids go: only when nothing of it runs. Fine when it has none. */
  release(podUid: string): Promise<void>
  /** The pods that have ids. */
  uids(): string[]
}

interface Range {
  hostId: number
  length: number
}

const line = z
  .object({
    hostId: z.int().min(block).multipleOf(block),
    containerId: z.literal(0),
    length: z.int().min(block).multipleOf(block),
  })
  .refine(({ hostId, length }) => hostId + length <= 0xffff_ffff, 'ends beyond the last id')
/** As the kubelet in Go writes it. */
const schema = z
  .object({ uidMappings: z.tuple([line]), gidMappings: z.tuple([line]) })
  .refine(
    ({ uidMappings: [uid], gidMappings: [gid] }) => uid.hostId === gid.hostId && uid.length === gid.length,
    'users and groups differ',
  )

/**
 * Reads what was given to pods before.
 *
 * @param ids those that pods may have
 * @param idsPerPod how many each new one has
 * @throws Error naming the file that cannot be read: its ids might be given to two pods
 */
export async function openUserNamespaces(
  rootDir: string,
  { first, count }: IdRange,
  idsPerPod: number = block,
): Promise<UserNamespaces> {
  const podsDir = join(rootDir, 'pods')
  const pathOf = (podUid: string): string => join(podsDir, podUid, 'userns')
  const taken = new Map<string, Range & { recorded: Promise<void> }>()
  for (const podUid of await namesOf(podsDir)) {
    const range = isPodUid(podUid) ? await readRecord(pathOf(podUid)) : undefined
    if (range) taken.set(podUid, { ...range, recorded: Promise.resolve() })
  }

  const firstFree = (): number => {
    const isFree = (from: number): boolean =>
      [...taken.values()].every(({ hostId, length }) => from >= hostId + length || hostId >= from + idsPerPod)
    const end = Math.min(first + count, 0xffff_ffff)
    for (let from = first; from + idsPerPod <= end; from += idsPerPod) if (isFree(from)) return from
    throw new Error(
      `no ids are left for another user namespace: all ${count / idsPerPod} ranges of this node are taken`,
    )
  }
  return {
    async take(podUid) {
      let own = taken.get(podUid)
      if (!own) {
        const hostId = firstFree()
        const range = { hostId, length: idsPerPod }
        own = { ...range, recorded: writeRecord(pathOf(podUid), range) }
        taken.set(podUid, own)
      }
      try {
        await own.recorded
      } catch (error) {
        if (taken.get(podUid) === own) taken.delete(podUid)
        throw error
      }
      return { hostId: own.hostId, containerId: 0, length: own.length }
    },
    async release(podUid) {
      const own = taken.get(podUid)
      if (!own) return
      await Promise.allSettled([own.recorded])
      await rm(pathOf(podUid), { force: true })
      taken.delete(podUid)
    },
    uids: () => [...taken.keys()],
  }
}

async function namesOf(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

async function readRecord(path: string): Promise<Range | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
  try {
    const { hostId, length } = schema.parse(JSON.parse(text)).uidMappings[0]
    return { hostId, length }
  } catch (cause) {
    const { message } = cause as Error
    throw new Error(
      `user namespace record ${path} cannot be read: ${message}; remove it when no container of that pod runs`,
      { cause },
    )
  }
}

/** Survives a crash whole or not at all. */
async function writeRecord(path: string, { hostId, length }: Range): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o750 })
  const mappings = [{ hostId, containerId: 0, length }]
  {
    await using file = await open(`${path}.tmp`, 'w', 0o644)
    await file.writeFile(JSON.stringify({ uidMappings: mappings, gidMappings: mappings }))
    await file.sync()
  }
  await rename(`${path}.tmp`, path)
}
