// Root file systems of containers: overlay mounts over the layers of an image.
import { chmodSync, chownSync, mkdirSync, statSync } from 'node:fs'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { isMountPoint, mount, mountIdMapped, unmountIfMounted } from '@nodelet/linux'
import { writeJson } from '../files.ts'
import { contextOption } from '../selinux/relabel.ts'
import { hostId, podRoot } from '../spec/user-namespace.ts'
import type { UserNamespaceFacts } from '../spec/user-namespace.ts'
import { crashPoint } from '../crash-points.ts'

interface RootfsRecord {
  key: string
  imageId: string
  chain: string[]
  /** Nobody writes to it. */
  isView?: boolean
}

/** How a file system is shown, without a change of its layers. */
export interface RootfsView {
  /** Whose ids the files are to have. */
  userNamespace?: UserNamespaceFacts | undefined
  /** The SELinux label of all its files. */
  mountLabel?: string | undefined
}

export interface RootfsInput extends RootfsView {
  /** Letters, digits, `_`, `.` and `-`. */
  key: string
  imageId: string
  /** Its layers, lowest first, and their folders, topmost first. */
  chain: readonly string[]
  folders: readonly string[]
  /** Read-only, so that many may share it. */
  isView?: boolean
}

type Place = Pick<RootfsInput, 'key' | 'folders' | 'mountLabel'> & { isView: boolean }

export interface RootFileSystems {
  /** Mounts a file system over the layers; mounts the same one again after a reboot. Answers its path. */
  prepare(input: RootfsInput): Promise<string>
  /** Unmounts and removes it with all that was written. Fine when there is none. */
  release(key: string): Promise<void>
  path(key: string): string | undefined
  /** By key: the folders that hold what was written. */
  upperPaths(): ReadonlyMap<string, string>
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
  // Where all layers are shown under other ids, for as long as a mount of them is made.
  const mapped = join(root, 'mapped')
  while (unmountIfMounted(mapped, { detach: true }));
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

  /** Nothing else runs meanwhile. What is mounted keeps the ids when the layers are no longer shown so. */
  const mountMapped = (place: Place, userNamespace: string): void => {
    const layers = join(root, 'l')
    mkdirSync(mapped, { recursive: true, mode: 0o700 })
    mountIdMapped({ source: layers, target: mapped, userNamespace, readOnly: true })
    try {
      const folders = place.folders.map((folder) => join(mapped, relative(layers, folder)))
      mountLayers({ ...place, folders }, mapped)
    } finally {
      unmountIfMounted(mapped, { detach: true })
    }
  }

  const mountLayers = ({ key, folders, isView, mountLabel }: Place, layers = join(root, 'l')): void => {
    const [only] = folders
    if (isView && mountLabel === undefined && only !== undefined && folders.length === 1) {
      mount({ source: only, target: at(key, 'merged'), options: ['bind'] })
      mount({ source: 'none', target: at(key, 'merged'), options: ['bind', 'remount', 'ro'] })
      return
    }
    const optionsWith = (shown: (path: string) => string): string[] => [
      `lowerdir=${folders.map(shown).join(':')}`,
      ...(isView ? ['ro'] : [`upperdir=${shown(at(key, 'upper'))}`, `workdir=${shown(at(key, 'work'))}`]),
      ...(mountLabel === undefined ? [] : [contextOption(mountLabel)]),
    ]
    const target = at(key, 'merged')
    const options = optionsWith((path) => path)
    if (options.join(',').length <= longestOptions) {
      mount({ source: 'overlay', target, type: 'overlay', options })
      return
    }
    // Paths of many layers are too long in full. Nothing else runs before the folder is set back.
    const before = process.cwd()
    process.chdir(layers)
    try {
      mount({ source: 'overlay', target, type: 'overlay', options: optionsWith((path) => relative(layers, path)) })
    } finally {
      process.chdir(before)
    }
  }

  const prepare = async ({
    key,
    imageId,
    chain,
    folders,
    isView = false,
    userNamespace,
    mountLabel,
  }: RootfsInput): Promise<string> => {
    if (!/^\w[\w.-]*$/.test(key)) {
      throw new RangeError(`rootfs key ${JSON.stringify(key)}: letters, digits, "_", "." and "-"`)
    }
    const present = known.get(key)
    if (present && present.imageId !== imageId) {
      throw new CriError('ALREADY_EXISTS', `rootfs ${key} is of image ${present.imageId}: release it first`)
    }
    const merged = at(key, 'merged')
    if (present && isMountPoint(merged)) return merged
    const record: RootfsRecord = { key, imageId, chain: [...chain], ...(isView && { isView }) }
    known.set(key, record)
    try {
      const names = isView ? ['merged', 'empty'] : ['upper', 'work', 'merged', 'empty']
      for (const name of names) mkdirSync(at(key, name), { recursive: true })
      crashPoint('container/rootfs-folders-made')
      if (!present) {
        if (!isView) copyOwner(folders[0] ?? at(key, 'empty'), at(key, 'upper'), userNamespace)
        await writeJson(at(key, 'rootfs.json'), record)
      }
      crashPoint('container/rootfs-recorded')
      const place = { key, folders: folders.length > 0 ? folders : [at(key, 'empty')], isView, mountLabel }
      if (userNamespace && folders.length > 0) mountMapped(place, userNamespace.path)
      else mountLayers(place)
      crashPoint('container/rootfs-mounted')
    } catch (error) {
      if (!present) await release(key)
      throw error
    }
    return merged
  }

  /** Two that want the same one at once share the work. */
  const preparing = new Map<string, Promise<string>>()
  return {
    prepare: async (input) => {
      const { key } = input
      const running = preparing.get(key) ?? prepare(input).finally(() => preparing.delete(key))
      preparing.set(key, running)
      return running
    },
    release,
    path: (key) => (known.has(key) ? at(key, 'merged') : undefined),
    upperPaths: () =>
      new Map([...known.values()].flatMap(({ key, isView }) => (isView ? [] : [[key, at(key, 'upper')] as const]))),
    imageId: (key) => known.get(key)?.imageId,
    records: () => [...known.values()],
  }
}

/** The upper folder's owner and mode are those of the root that a container sees. */
function copyOwner(from: string, to: string, user: UserNamespaceFacts | undefined): void {
  const { uid, gid, mode } = statSync(from)
  const root = podRoot(user)
  if (user) chownSync(to, hostId(user.uids, uid) ?? root.uid, hostId(user.gids, gid) ?? root.gid)
  else chownSync(to, uid, gid)
  chmodSync(to, mode & 0o7777)
}
