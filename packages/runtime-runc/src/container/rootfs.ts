// Paths inside a root file system that is not trusted.
import { lstat, mkdir, open, readlink } from 'node:fs/promises'
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
export async function resolveInRoot(root: string, path: string): Promise<string> {
  const done: string[] = []
  const todo = path.split('/').toReversed()
  for (let links = 0; todo.length > 0;) {
    const part = todo.pop()
    if (!part || part === '.') continue
    if (part === '..') {
      done.pop()
      continue
    }
    const target = await linkTarget(join(root, ...done, part))
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
export async function readInRoot(root: string, path: string): Promise<string> {
  const real = await resolveInRoot(root, path)
  try {
    if (!(await lstat(real)).isFile()) return '' // a FIFO or device of the image must not be opened
    await using file = await open(real, 'r')
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_BYTES), 0, MAX_BYTES, 0)
    return buffer.toString('utf8', 0, bytesRead)
  } catch (error) {
    if (isMissing(error) || isNotFolder(error)) return ''
    throw error
  }
}

/** Makes `target` with what the root has at `path`: owners, modes, links and attributes included. */
export async function copyFromRoot(root: string, path: string, target: string, signal?: AbortSignal): Promise<void> {
  await mkdir(target, { recursive: true, mode: 0o755 })
  const source = await resolveInRoot(root, path)
  if (!(await isFolder(source))) return
  const { code, stderr } = await execFile('cp', ['-a', '--', `${source}/.`, target], signal)
  if (code !== 0) throw new Error(`copying image volume ${path} from ${source} to ${target}: ${stderr.trim()}`)
}

async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return await readlink(path)
  } catch {
    return undefined // not a link, or not there: taken as it stands
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isDirectory()
  } catch (error) {
    if (isMissing(error) || isNotFolder(error)) return false
    throw error
  }
}

function isNotFolder(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOTDIR'
}
