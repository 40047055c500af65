// `memory_manager_state`: which memory of which NUMA nodes is whose, as it survives the kubelet; the Go kubelet's file.
import { z } from 'zod'
import { goChecksum, goInt, goList, goMap, goPointer, goString, goStruct, goUint64 } from '../state-file/checksum.ts'
import { readStateFile, writeStateFile } from '../state-file/state-file.ts'

/** Memory of one kind that a container has on these nodes together. */
export interface MemoryBlock {
  numaAffinity: number[]
  /** `memory` or `hugepages-2Mi`. */
  type: string
  /** In bytes. */
  size: number
}

/** Of one kind on one node, in bytes. */
export interface MemoryTable {
  total: number
  systemReserved: number
  allocatable: number
  reserved: number
  free: number
}

export interface NodeMemory {
  numberOfAssignments: number
  /** Kind → how much of it. */
  memoryMap: Record<string, MemoryTable>
  /** This node, and those that containers have together with it. */
  cells: number[]
}

export interface MemoryState {
  policyName: 'None' | 'Static'
  /** NUMA node → what it has. */
  machineState: Record<string, NodeMemory>
  /** Pod → container → its memory. */
  entries: Record<string, Record<string, MemoryBlock[]>>
}

const bytes = z.number().int().nonnegative()
const node = z.number().int().nonnegative()
const schema = z.object({
  policyName: z.enum(['None', 'Static']),
  machineState: z.record(
    z.string().regex(/^\d+$/, 'is no NUMA node'),
    z.object({
      numberOfAssignments: z.number().int(),
      memoryMap: z.record(
        z.string(),
        z.object({ total: bytes, systemReserved: bytes, allocatable: bytes, reserved: bytes, free: bytes }),
      ),
      cells: z.array(node),
    }),
  ),
  entries: z
    .record(
      z.string(),
      z.record(z.string(), z.array(z.object({ numaAffinity: z.array(node), type: z.string(), size: bytes }))),
    )
    .default({}),
  checksum: z.number(),
})

const resourceName = { ...goString, name: 'v1.ResourceName' }
const table = goStruct('state.MemoryTable', {
  TotalMemSize: [goUint64, 'total'],
  SystemReserved: [goUint64, 'systemReserved'],
  Allocatable: [goUint64, 'allocatable'],
  Reserved: [goUint64, 'reserved'],
  Free: [goUint64, 'free'],
})
const nodeState = goStruct('state.NUMANodeState', {
  NumberOfAssignments: [goInt, 'numberOfAssignments'],
  MemoryMap: [goMap(resourceName, goPointer(table)), 'memoryMap'],
  Cells: [goList(goInt), 'cells'],
})
const block = goStruct('state.Block', {
  NUMAAffinity: [goList(goInt), 'numaAffinity'],
  Type: [resourceName, 'type'],
  Size: [goUint64, 'size'],
})
const goType = goStruct('*state.MemoryManagerCheckpoint', {
  PolicyName: [goString, 'policyName'],
  MachineState: [goMap(goInt, goPointer(nodeState), 'state.NUMANodeMap'), 'machineState'],
  Entries: [goMap(goString, goMap(goString, goList(block)), 'state.ContainerMemoryAssignments'), 'entries'],
  Checksum: [{ ...goUint64, name: 'checksum.Checksum' }, 'checksum'],
})
const checksumOf = (state: MemoryState): number => goChecksum(goType, { ...state, checksum: 0 })

/** Undefined when there is none. @throws Error naming the file that cannot be trusted, and what to do */
export async function readMemoryState(path: string): Promise<MemoryState | undefined> {
  return readStateFile(path, schema, (state) => ({ written: state.checksum, computed: checksumOf(state) }))
}

export async function writeMemoryState(path: string, state: MemoryState): Promise<void> {
  const { policyName, machineState, entries } = state
  const some = Object.keys(entries).length > 0 && { entries }
  await writeStateFile(path, { policyName, machineState, ...some, checksum: checksumOf(state) })
}
