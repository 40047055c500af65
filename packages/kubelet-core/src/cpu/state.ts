// `cpu_manager_state`: which CPUs are whose, as it survives the kubelet.
import { createHash } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import { z } from 'zod'

export interface CpuState {
  policyName: 'none' | 'static'
  /** A list of CPUs: those that nobody has for itself. */
  defaultCpuSet: string
  /** Pod → container → its own CPUs. */
  entries: Record<string, Record<string, string>>
}

const schema = z.object({
  policyName: z.enum(['none', 'static']),
  defaultCpuSet: z.string(),
  entries: z.record(z.string(), z.record(z.string(), z.string())).default({}),
  checksum: z.number(),
})

const checksumOf = ({ policyName, defaultCpuSet, entries }: CpuState): number =>
  createHash('sha256')
    .update(JSON.stringify([policyName, defaultCpuSet, entries]))
    .digest()
    .readUInt32BE(0)

/** Undefined when there is none. @throws Error naming the file that cannot be trusted, and what to do */
export async function readCpuState(path: string): Promise<CpuState | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw stateError(path, `is not JSON (${(cause as Error).message})`)
  }
  const result = schema.safeParse(parsed)
  if (!result.success)
    throw stateError(path, `${result.error.issues[0]?.path.join('.')}: ${result.error.issues[0]?.message}`)
  const { checksum, ...state } = result.data
  if (checksumOf(state) !== checksum) throw stateError(path, 'its checksum does not fit its content')
  return state
}

export const stateError = (path: string, why: string): Error =>
  new Error(`${path}: ${why}: drain this node, remove the file and start the kubelet again`)

/** Survives a crash whole or not at all. */
export async function writeCpuState(path: string, state: CpuState): Promise<void> {
  const temporary = `${path}.tmp`
  {
    await using file = await open(temporary, 'w', 0o600)
    await file.writeFile(JSON.stringify({ ...state, checksum: checksumOf(state) }))
    await file.sync()
  }
  await rename(temporary, path)
}
