// Files that survive a crash whole or not at all.
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { crashPoint } from './crash-points.ts'

/** Whether an error is that a file or folder is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

/**
 * Writes JSON to a temporary name, syncs it, renames it and syncs the folder, which is made when missing.
 *
 * @throws Error naming the file; the former content is then untouched.
 */
export async function writeJson(path: string, value: unknown): Promise<void> {
  const folder = dirname(path)
  const temporary = `${path}.tmp`
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    crashPoint('record/folder-made')
    {
      await using file = await open(temporary, 'w', 0o600)
      await file.writeFile(JSON.stringify(value, jsonable))
      await file.sync()
    }
    crashPoint('record/written')
    await rename(temporary, path)
    await syncFolder(folder)
  } catch (cause) {
    // On a read-only disk this fails as the write did, and that is the failure to tell of.
    await Promise.allSettled([rm(temporary, { force: true })])
    const remedy = isFull(cause) ? ': free space on its disk and try again' : ''
    throw new Error(`writing ${path}: ${(cause as Error).message}${remedy}`, { cause })
  }
}

/** Whether an error, or what caused it, is that a disk takes no more. */
export function isFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const code = 'code' in error ? String(error.code) : undefined
  // Errors of other threads have lost their code.
  return /^(ENOSPC|EDQUOT|EROFS)$/.test(code ?? '') || /\b(ENOSPC|EDQUOT)\b/.test(error.message) || isFull(error.cause)
}

/** Ends the names of folders that are being removed. */
const REMOVED = '.removed'

/** Removes a folder so that it is whole or gone for those that call `removeHalves` after a crash. */
export async function removeFolder(path: string): Promise<void> {
  const aside = `${path}${REMOVED}`
  try {
    await rename(path, aside)
    await syncFolder(dirname(path))
  } catch (error) {
    if (!isMissing(error)) throw error
  }
  crashPoint('record/set-aside')
  await removeTree(aside)
}

/** Finishes the removals in a folder that a crash cut off, and answers the other names. */
export async function removeHalves(folder: string): Promise<string[]> {
  const names = await readdir(folder)
  await Promise.all(names.filter((name) => name.endsWith(REMOVED)).map((name) => removeTree(join(folder, name))))
  return names.filter((name) => !name.endsWith(REMOVED))
}

/** Fine when it is not there. A file that is just being made by a program that is ending does not stop it. */
export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
}

/** What was renamed or removed in a folder stays so after a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, 'r')
  await handle.sync()
}

/** The text of a file; undefined when it is not there. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** CRI's 64-bit integers are bigints, which JSON has no form for. */
function jsonable(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? Number(value) : value
}
