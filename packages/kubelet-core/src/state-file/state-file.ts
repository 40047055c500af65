// Files that say what a node has given to whom: JSON with a checksum, read and checked once, written whole or not at all.
import { open, rename } from 'node:fs/promises'
import type { z } from 'zod'
import { readIfThere } from '../files.ts'

/** Undefined when there is none. @throws Error naming the file that cannot be trusted, and what to do */
export async function readStateFile<T>(
  path: string,
  schema: z.ZodType<T>,
  checksums: (state: T) => { written: number; computed: number },
): Promise<T | undefined> {
  const text = await readIfThere(path)
  if (text === undefined) return undefined
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw stateError(path, `is not JSON (${(cause as Error).message})`)
  }
  const result = schema.safeParse(parsed)
  if (!result.success) {
    const [issue] = result.error.issues
    throw stateError(path, `${issue?.path.join('.')}: ${issue?.message}`)
  }
  const { written, computed } = checksums(result.data)
  if (written !== computed) throw stateError(path, 'its checksum does not fit its content')
  return result.data
}

export const stateError = (path: string, why: string): Error =>
  new Error(`${path}: ${why}: drain this node, remove the file and start the kubelet again`)

/** Survives a crash whole or not at all. */
export async function writeStateFile(path: string, state: object): Promise<void> {
  const temporary = `${path}.tmp`
  {
    await using file = await open(temporary, 'w', 0o600)
    await file.writeFile(JSON.stringify(state))
    await file.sync()
  }
  await rename(temporary, path)
}
