// Files that survive a crash whole or not at all.
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Whether an error is that a file or folder is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

/** Writes JSON to a temporary name, syncs it, renames it and syncs the folder, which is made when missing. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  const folder = dirname(path)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const temporary = `${path}.tmp`
  {
    await using file = await open(temporary, 'w', 0o600)
    await file.writeFile(JSON.stringify(value, jsonable))
    await file.sync()
  }
  await rename(temporary, path)
  await syncFolder(folder)
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
