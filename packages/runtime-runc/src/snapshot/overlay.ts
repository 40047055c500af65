// Root file systems of containers: overlay mounts over the layers of an image.
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isMountPoint, mount, unmountIfMounted } from '@nodelet/linux'
import { writeJson } from '../files.ts'

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
  records(): RootfsRecord[]
}

export async function openRootFileSystems(root: string): Promise<RootFileSystems> {
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

  return {
    prepare: async (key, imageId, chain, folders) => {
      if (!/^[\w.-]+$/.test(key))
        throw new RangeError(`rootfs key ${JSON.stringify(key)}: letters, digits, "_", "." and "-"`)
      const merged = at(key, 'merged')
      if (known.has(key) && isMountPoint(merged)) return merged
      for (const name of ['upper', 'work', 'merged']) await mkdir(at(key, name), { recursive: true, mode: 0o755 })
      const record = { key, imageId, chain: [...chain] }
      await writeJson(at(key, 'rootfs.json'), record)
      known.set(key, record)
      const options = [`lowerdir=${folders.join(':')}`, `upperdir=${at(key, 'upper')}`, `workdir=${at(key, 'work')}`]
      mount({ source: 'overlay', target: merged, type: 'overlay', options })
      return merged
    },
    release,
    path: (key) => (known.has(key) ? at(key, 'merged') : undefined),
    records: () => [...known.values()],
  }
}
