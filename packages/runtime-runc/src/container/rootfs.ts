// Paths inside a root file system that is not trusted. The few calls on files at hand are faster than a thread's turn.
import { closeSync, fstatSync, lstatSync, openSync, readlinkSync, readSync } from 'node:fs'
import { chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { execFile } from '../exec-file.ts'
import { isMissing } from '../files.ts'

const MAX_LINKS = 40
const MAX_BYTES = 1 << 20

/**
 * The host path that `path` names inside `root`: links and `..` never lead out of it. What is missing is taken as it
 * stands. Nothing may change the root meanwhile, so call it before the container runs.
 *
 * @throws Error after 40 links.
 */
export function resolveInRoot(root: string, path: string): string {
  const done: string[] = []
  const todo = path.split('/').toReversed()
  for (let links = 0; todo.length > 0;) {
    const part = todo.pop()
    if (!part || part === '.') continue
    if (part === '..') {
      done.pop()
      continue
    }
    const target = linkTarget(join(root, ...done, part))
    if (target === undefined) {
      done.push(part)
      continue
    }
    if (++links > MAX_LINKS) throw new Error(`${path} in ${root}: more than ${MAX_LINKS} links; is there a loop?`)
    if (target.startsWith('/')) done.length = 0
    todo.push(...target.split('/').toReversed())
  }
  return join(root, ...done)
}

/** The first megabyte of a regular file inside the root, as text; empty when there is no such file. */
export function readInRoot(root: string, path: string): string {
  const real = resolveInRoot(root, path)
  try {
    if (!lstatSync(real).isFile()) return '' // a FIFO or device of the image must not be opened
    const fd = openSync(real, 'r')
    try {
      const buffer = Buffer.alloc(Math.min(fstatSync(fd).size, MAX_BYTES))
      return buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, 0))
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if (isMissing(error) || isNotFolder(error)) return ''
    throw error
  }
}

/** Makes `target` with what the root has at `path`: owners, modes, links and attributes included. Else it is `owner`'s. */
export async function copyFromRoot(
  root: string,
  path: string,
  target: string,
  { owner = { uid: 0, gid: 0 }, signal }: { owner?: { uid: number; gid: number }; signal?: AbortSignal } = {},
): Promise<void> {
  await mkdir(target, { recursive: true, mode: 0o755 })
  await chown(target, owner.uid, owner.gid)
  const source = resolveInRoot(root, path)
  if (!isFolder(source)) return
  const { code, stderr } = await execFile('cp', ['-a', '--', `${source}/.`, target], signal)
  if (code !== 0) throw new Error(`copying image volume ${path} from ${source} to ${target}: ${stderr.trim()}`)
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined // not a link, or not there: taken as it stands
  }
}

function isFolder(path: string): boolean {
  try {
    return lstatSync(path).isDirectory()
  } catch (error) {
    if (isMissing(error) || isNotFolder(error)) return false
    throw error
  }
}

function isNotFolder(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOTDIR'
}
