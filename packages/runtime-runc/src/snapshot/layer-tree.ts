// Paths of a layer as it grows on top of the layers below: no entry ever leaves the layer's folder.
import { copyFileSync, chownSync, lstatSync, mkdirSync, readlinkSync } from 'node:fs'
import type { Stats } from 'node:fs'
import { join } from 'node:path'

/** As many symlinks as the kernel follows. */
const mostLinks = 40

export const isWhiteout = (stats: Stats): boolean => stats.isCharacterDevice() && stats.rdev === 0

const statOf = (path: string): Stats | undefined => lstatSync(path, { throwIfNoEntry: false })

/** Splits an entry's name; `..` never climbs above the root. */
export function partsOf(name: string): string[] {
  const parts: string[] = []
  for (const part of name.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '' && part !== '.') parts.push(part)
  }
  return parts
}

/** @param lowers folders of the layers below, topmost first */
export function createLayerTree(folder: string, lowers: readonly string[]): LayerTree {
  /** What is at a path of the merged tree, and in which layer. */
  const find = (parts: readonly string[]): { path: string; stats: Stats } | undefined => {
    for (const layer of [folder, ...lowers]) {
      const path = join(layer, ...parts)
      const stats = statOf(path)
      if (stats) return isWhiteout(stats) ? undefined : { path, stats }
    }
    return undefined
  }

  /** A folder of this layer; when a lower layer has it, with that one's owner and mode. */
  const makeFolder = (parts: readonly string[]): string => {
    const path = join(folder, ...parts)
    if (parts.length === 0 || statOf(path)?.isDirectory()) return path
    const below = find(parts)
    mkdirSync(path, { mode: below ? below.stats.mode & 0o7777 : 0o755 })
    if (below) chownSync(path, below.stats.uid, below.stats.gid)
    return path
  }

  /** Follows the symlinks of a folder's path within the merged tree and makes what is missing. */
  const makeFolders = (parts: readonly string[]): string[] => {
    let links = 0
    const ahead = [...parts]
    const real: string[] = []
    for (let part = ahead.shift(); part !== undefined; part = ahead.shift()) {
      if (part === '..') {
        real.pop()
        continue
      }
      const found = find([...real, part])
      if (found?.stats.isSymbolicLink()) {
        const target = readlinkSync(found.path)
        if (++links > mostLinks) throw new Error(`${parts.join('/')}: too many symlinks`)
        if (target.startsWith('/')) real.length = 0
        ahead.unshift(...target.split('/').filter((word) => word !== '' && word !== '.'))
      } else {
        if (found && !found.stats.isDirectory()) throw new Error(`${[...real, part].join('/')}: not a folder`)
        real.push(part)
        makeFolder(real)
      }
    }
    return real
  }

  return {
    place: (name) => {
      const parts = partsOf(name)
      const base = parts.pop()
      if (base === undefined) return { folder, path: folder, base: '' }
      const parent = join(folder, ...makeFolders(parts))
      return { folder: parent, path: join(parent, base), base }
    },
    source: (name) => {
      const parts = partsOf(name)
      const base = parts.pop() ?? ''
      const at = [...makeFolders(parts), base]
      const found = find(at)
      if (!found?.stats.isFile()) throw new Error(`hard link to ${name}: no such file in the image`)
      const path = join(folder, ...at)
      if (found.path !== path) {
        copyFileSync(found.path, path)
        chownSync(path, found.stats.uid, found.stats.gid)
      }
      return path
    },
  }
}

export interface LayerTree {
  /** Where an entry goes: its folder is there afterwards, and is below the layer's. */
  place(name: string): { folder: string; path: string; base: string }
  /** The file that a hard link names, taken into this layer when a lower one has it. */
  source(name: string): string
}
