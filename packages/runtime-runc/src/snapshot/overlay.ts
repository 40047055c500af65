// Root file systems of containers: overlay mounts over the layers of an image.
import { chmodSync, chownSync, mkdirSync, statSync } from 'node:fs'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { isMountPoint, mount, unmountIfMounted } from '@nodelet/linux'
import { writeJson } from '../files.ts'
import { crashPoint } from '../crash-points.ts'

interface RootfsRecord {
  key: string
  imageId: string
  chain: string[]
}

export interface RootFileSystems {
  /** Mounts a writable file system over the layers; mounts the same one again after a reboot. Answers its path. */
  prepare(key: string, imageId: string, chain: readonly string[], folders: readonly string[]): Promise<string>
  /** Unmounts and removes it with all that was written. Fine when there is none. */
  release(key: string): Promise<void>
  path(key: string): string | undefined
  /** The image of one that is there. */
  imageId(key: string): string | undefined
  records(): RootfsRecord[]
}

/** The kernel takes one page of options and silently cuts the rest; some room is left for its end. */
const longestOptions = 4000

export async function openRootFileSystems(root: string): Promise<RootFileSystems> {
  if (/[:,\\]/.test(root)) throw new RangeError(`${root}: overlay mounts can't have ":", "," or "\\" in a path`)
  const base = join(root, 'rootfs')
  await mkdir(base, { recursive: true, mode: 0o711 })
  const known = new Map<string, RootfsRecord>()
  const at = (key: string, ...parts: string[]): string => join(base, key, ...parts)

  const release = async (key: string): Promise<void> => {
    while (unmountIfMounted(at(key, 'merged'), { detach: true }));
    await rm(at(key), { recursive: true, force: true })
    known.delete(key)
  }

  for (const key of await readdir(base)) {
    try {
      known.set(key, JSON.parse(await readFile(at(key, 'rootfs.json'), 'utf8')) as RootfsRecord)
    } catch {
      await release(key) // made or removed half-way
    }
  }

  const mountLayers = (key: string, folders: readonly string[]): void => {
    const optionsWith = (shown: (path: string) => string): string[] => [
      `lowerdir=${folders.map(shown).join(':')}`,
      `upperdir=${shown(at(key, 'upper'))}`,
      `workdir=${shown(at(key, 'work'))}`,
    ]
    const target = at(key, 'merged')
    const options = optionsWith((path) => path)
    if (options.join(',').length <= longestOptions) {
      mount({ source: 'overlay', target, type: 'overlay', options })
      return
    }
    // Paths of many layers are too long in full. Nothing else runs before the folder is set back.
    const layers = join(root, 'l')
    const before = process.cwd()
    process.chdir(layers)
    try {
      mount({ source: 'overlay', target, type: 'overlay', options: optionsWith((path) => relative(layers, path)) })
    } finally {
      process.chdir(before)
    }
  }

  return {
    prepare: async (key, imageId, chain, folders) => {
      if (!/^\w[\w.-]*$/.test(key)) {
        throw new RangeError(`rootfs key ${JSON.stringify(key)}: letters, digits, "_", "." and "-"`)
      }
      const present = known.get(key)
      if (present && present.imageId !== imageId) {
        throw new CriError('ALREADY_EXISTS', `rootfs ${key} is of image ${present.imageId}: release it first`)
      }
      const merged = at(key, 'merged')
      if (present && isMountPoint(merged)) return merged
      const record = { key, imageId, chain: [...chain] }
      known.set(key, record)
      try {
        for (const name of ['upper', 'work', 'merged', 'empty']) mkdirSync(at(key, name), { recursive: true })
        crashPoint('container/rootfs-folders-made')
        if (!present) {
          // The upper folder's owner and mode are those of the root that a container sees.
          const { uid, gid, mode } = statSync(folders[0] ?? at(key, 'empty'))
          chownSync(at(key, 'upper'), uid, gid)
          chmodSync(at(key, 'upper'), mode & 0o7777)
          await writeJson(at(key, 'rootfs.json'), record)
        }
        crashPoint('container/rootfs-recorded')
        mountLayers(key, folders.length > 0 ? folders : [at(key, 'empty')])
        crashPoint('container/rootfs-mounted')
      } catch (error) {
        if (!present) await release(key)
        throw error
      }
      return merged
    },
    release,
    path: (key) => (known.has(key) ? at(key, 'merged') : undefined),
    imageId: (key) => known.get(key)?.imageId,
    records: () => [...known.values()],
  }
}
