// `cpu_manager_state`: which CPUs are whose, as it survives the kubelet; the Go kubelet's file.
import { z } from 'zod'
import { goChecksum, goMap, goString, goStruct, goUint64 } from '../state-file/checksum.ts'
import { readStateFile, writeStateFile } from '../state-file/state-file.ts'

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

const goType = goStruct('*state.CPUManagerCheckpoint', {
  PolicyName: [goString, 'policyName'],
  DefaultCPUSet: [goString, 'defaultCpuSet'],
  Entries: [goMap(goString, goMap(goString, goString)), 'entries'],
  Checksum: [{ ...goUint64, name: 'checksum.Checksum' }, 'checksum'],
})
const checksumOf = (state: CpuState): number => goChecksum(goType, { ...state, checksum: 0 })

/** Undefined when there is none. @throws Error naming the file that cannot be trusted, and what to do */
export async function readCpuState(path: string): Promise<CpuState | undefined> {
  const read = await readStateFile(path, schema, (state) => ({ written: state.checksum, computed: checksumOf(state) }))
  return read && { policyName: read.policyName, defaultCpuSet: read.defaultCpuSet, entries: read.entries }
}

export async function writeCpuState(path: string, state: CpuState): Promise<void> {
  const { policyName, defaultCpuSet, entries } = state
  const some = Object.keys(entries).length > 0 && { entries }
  await writeStateFile(path, { policyName, defaultCpuSet, ...some, checksum: checksumOf(state) })
}
