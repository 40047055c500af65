// Paths of a layer as it grows on top of the layers below: no entry ever leaves the layer's folder, and no look
// follows a symlink on the host.
import { chmodSync, lstatSync, mkdirSync, readlinkSync, rmSync } from 'node:fs'
import type { Stats } from 'node:fs'
import { join } from 'node:path'
import { getXattr, setXattr } from '@nodelet/linux'
import { copyUp } from './copy-up.ts'

/** As many symlinks as the kernel follows. */
const mostLinks = 40
/** They are asked for one after the other: more would cost memory for nothing. */
const mostPlaces = 1000
const opaque = 'trusted.overlay.opaque'

interface Found {
  path: string
  stats: Stats
}

export interface LayerTree {
  /** Where an entry goes: its folder is there afterwards, and is below the layer's. */
  place(name: string): { folder: string; path: string; base: string }
  /** The file that a hard link names, taken into this layer when a lower one has it. */
  source(name: string): string
  /** To be called when something is removed: names may lead elsewhere now. */
  forget(): void
  /** Whether the path is in this layer only because a hard link needed it. */
  isCopy(path: string): boolean
}

export const isWhiteout = (stats: Stats): boolean => stats.isCharacterDevice() && stats.rdev === 0

/** What is at a path; a symlink is itself. */
export const statOf = (path: string): Stats | undefined => lstatSync(path, { throwIfNoEntry: false })

/** Hides what lower layers have in a folder. */
export const makeOpaque = (folder: string): void => setXattr(folder, opaque, Buffer.from('y'))

const isOpaque = (folder: string): boolean => getXattr(folder, opaque)?.toString() === 'y'

/** Splits an entry's name; `..` never climbs above the root. */
export function partsOf(name: string): string[] {
  const parts: string[] = []
  for (const part of name.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '' && part !== '.') parts.push(part)
  }
  return parts
}

/** What one layer says about a path: has it, hides what lower layers have there, or neither. */
function look(layer: string, parts: readonly string[]): Found | 'hidden' | undefined {
  let path = layer
  let hides = false
  for (const part of parts.slice(0, -1)) {
    path = join(path, part)
    const stats = statOf(path)
    if (!stats) return hides ? 'hidden' : undefined
    if (!stats.isDirectory()) return 'hidden'
    hides ||= isOpaque(path)
  }
  path = join(path, parts.at(-1) ?? '')
  const stats = statOf(path)
  if (stats) return isWhiteout(stats) ? 'hidden' : { path, stats }
  return hides ? 'hidden' : undefined
}

/** @param lowersOf answers the folders of the layers below, topmost first; asked only when they matter */
export function createLayerTree(folder: string, lowersOf: () => readonly string[]): LayerTree {
  const copies = new Set<string>()
  /** Folders that were found or made, by the name they were asked for. */
  const places = new Map<string, string>()

  /** What is at a path of the merged tree. Every part but the last is a folder of it, not a symlink. */
  const find = (parts: readonly string[]): Found | undefined => {
    const own = look(folder, parts)
    if (own) return own === 'hidden' ? undefined : own
    for (const layer of lowersOf()) {
      const found = look(layer, parts)
      if (found) return found === 'hidden' ? undefined : found
    }
    return undefined
  }

  /** A folder of this layer; when a lower layer has it, with that one's owner and mode. */
  const makeFolder = (parts: readonly string[], below: Found | undefined): void => {
    const path = join(folder, ...parts)
    const present = statOf(path)
    if (present?.isDirectory()) return
    if (below) copyUp(below.path, below.stats, path)
    else replaceWithFolder(path, present)
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
        makeFolder(real, found)
      }
    }
    return real
  }

  return {
    place: (name) => {
      const parts = partsOf(name)
      const base = parts.pop()
      if (base === undefined) return { folder, path: folder, base: '' }
      const asked = parts.join('/')
      let parent = places.get(asked)
      if (parent === undefined) {
        parent = [folder, ...makeFolders(parts)].join('/')
        if (places.size >= mostPlaces) places.clear()
        places.set(asked, parent)
      }
      return { folder: parent, path: `${parent}/${base}`, base }
    },
    forget: () => places.clear(),
    source: (name) => {
      const parts = partsOf(name)
      const base = parts.pop() ?? ''
      const at = [...makeFolders(parts), base]
      const found = find(at)
      if (!found || found.stats.isDirectory()) throw new Error(`hard link to ${name}: no such file in the image`)
      const path = join(folder, ...at)
      if (found.path !== path) {
        copyUp(found.path, found.stats, path)
        copies.add(path)
      }
      return path
    },
    isCopy: (path) => copies.has(path),
  }
}

/** A new folder. In the place of a whiteout it hides what the whiteout hid. */
export function replaceWithFolder(path: string, present: Stats | undefined): void {
  const hides = present !== undefined && isWhiteout(present)
  if (present) rmSync(path, { recursive: true })
  mkdirSync(path)
  chmodSync(path, 0o755) // whatever the umask
  if (hides) makeOpaque(path)
}
