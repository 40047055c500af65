// Makes what a layer's tar says, entry by entry.
import {
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import type { Stats } from 'node:fs'
import { makeNode } from '@nodelet/linux'
import { makeOpaque, partsOf, replaceWithFolder, statOf } from './layer-tree.ts'
import type { LayerTree } from './layer-tree.ts'
import type { Meter } from './limits.ts'
import { setEntryTimes, setMetadata, timesOf } from './metadata.ts'
import type { Times } from './metadata.ts'
import type { TarEntry } from './tar/entry.ts'
import type { TarSink } from './tar/reader.ts'

export interface Unpacked {
  /** Whether the layer hides all that is below it. */
  hidesAll: boolean
  /** Entries of kinds that layers have no use for; the first few. */
  skipped: string[]
}

export interface EntryWriter extends TarSink, Disposable {
  /** All entries were there: what has to be last is done now. */
  finish(): Unpacked
}

const opaqueMark = '.wh..wh..opq'
/** Other names that begin like this are another union file system's own files. */
const metaPrefix = '.wh..wh.'
const whiteoutPrefix = '.wh.'
const mostTold = 10

/** A file whose content is coming. */
interface Open {
  entry: TarEntry
  path: string
  fd: number
  /** How much is written without a hole. */
  written: number
}

export function createEntryWriter(tree: LayerTree, meter: Meter): EntryWriter {
  const folders = new Map<string, Times>()
  const total: Unpacked = { hidesAll: false, skipped: [] }
  let open: Open | undefined
  let name = ''

  const remove = (path: string, present: Stats): void => {
    if (present.isDirectory()) {
      rmSync(path, { recursive: true })
      for (const each of folders.keys()) if (each === path || each.startsWith(`${path}/`)) folders.delete(each)
    } else unlinkSync(path)
    tree.forget()
  }

  /** Most files are new: what is there is looked at only when the kernel says so. */
  const openNew = (path: string): number => {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
    try {
      return openSync(path, flags, 0o600)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    remove(path, lstatSync(path))
    return openSync(path, flags, 0o600)
  }

  const makeFolder = (path: string): void => {
    try {
      mkdirSync(path)
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const present = statOf(path)
    if (present?.isDirectory()) return
    tree.forget()
    replaceWithFolder(path, present)
  }

  const begin = (entry: TarEntry): void => {
    meter.entry(entry.name, entry.size)
    const parts = partsOf(entry.name)
    if (entry.name.includes(metaPrefix) && parts.some((part) => part.startsWith(metaPrefix) && part !== opaqueMark)) {
      return
    }
    if (entry.type === 'other') {
      if (entry.flag === 'M') throw new Error('a file that goes on in another volume of the tar')
      if (total.skipped.length < mostTold) total.skipped.push(`${entry.name} of type ${JSON.stringify(entry.flag)}`)
      return
    }
    const { folder, path, base } = tree.place(entry.name)
    if (base.startsWith(whiteoutPrefix)) {
      if (base !== opaqueMark) hide(folder, base.slice(whiteoutPrefix.length))
      else if (parts.length === 1) total.hidesAll = true
      else makeOpaque(folder)
      return
    }
    if (base === '' && entry.type !== 'directory') throw new Error('the root of a layer is a folder')
    if (entry.type === 'file') {
      open = { entry, path, fd: openNew(path), written: 0 }
    } else make(entry, path)
  }

  const make = (entry: TarEntry, path: string): void => {
    const { type, linkname, devmajor, devminor } = entry
    if (type === 'directory') {
      makeFolder(path)
      setMetadata(path, entry)
      folders.set(path, timesOf(entry))
      return
    }
    // Looked up first: what is in the way may be the very folder that the link's target is in.
    const source = type === 'link' ? tree.source(linkname) : undefined
    if (source === path) return // a file that links to itself is as it was
    const present = statOf(path)
    if (present) remove(path, present)
    if (source !== undefined) {
      linkSync(source, path)
      return
    }
    if (type === 'symlink') symlinkSync(linkname, path)
    else makeNode(path, kinds[type as keyof typeof kinds] | 0o600, devmajor, devminor)
    setMetadata(path, entry)
    setEntryTimes(path, timesOf(entry))
  }

  /** A whiteout is about lower layers: what this layer has under the name stays. */
  const hide = (folder: string, hidden: string): void => {
    if (hidden === '' || hidden === '.' || hidden === '..') throw new Error('a whiteout of nothing')
    const path = `${folder}/${hidden}`
    const present = statOf(path)
    if (present && !tree.isCopy(path)) {
      if (present.isDirectory()) makeOpaque(path)
      return
    }
    if (present) remove(path, present)
    makeNode(path, constants.S_IFCHR)
  }

  const close = ({ entry, path, fd, written }: Open): void => {
    if (written < entry.size) ftruncateSync(fd, entry.size) // ends with a hole
    setMetadata(path, entry, fd)
    closeSync(fd)
    setEntryTimes(path, timesOf(entry))
  }

  const named = (work: () => void): void => {
    try {
      work()
    } catch (error) {
      throw new Error(`entry ${JSON.stringify(name)}: ${(error as Error).message}`, { cause: error })
    }
  }

  return {
    begin: (entry) => {
      name = entry.name
      named(() => begin(entry))
    },
    data: (chunk, position) => {
      if (!open) return // of an entry that is passed over
      const { fd } = open
      named(() => {
        for (let done = 0; done < chunk.length;)
          done += writeSync(fd, chunk, done, chunk.length - done, position + done)
      })
      open.written = position + chunk.length
    },
    end: () => {
      const ended = open
      open = undefined
      if (ended) named(() => close(ended))
    },
    finish: () => {
      // Inner ones first: making what is inside changes a folder's time.
      for (const [path, times] of [...folders].toReversed()) if (statOf(path)?.isDirectory()) setEntryTimes(path, times)
      return total
    },
    [Symbol.dispose]: () => {
      if (open) closeSync(open.fd) // cut off in the middle of a file
    },
  }
}

const kinds = { character: constants.S_IFCHR, block: constants.S_IFBLK, fifo: constants.S_IFIFO } as const
