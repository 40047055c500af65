// A container as it is known on disk.
import type { ContainerConfig, LinuxContainerResources } from '@nodelet/cri-api'
import type { ProcessRef } from '../pids.ts'
import type { ResolvedUser } from '../spec/users.ts'

/** `creating` is only seen after a crash in the middle; CRI's states are the other three. */
export type ContainerPhase = 'creating' | 'created' | 'running' | 'exited'

/** Times are milliseconds since the epoch. */
export interface ContainerRecord {
  id: string
  sandboxId: string
  config: ContainerConfig
  /** The runtime handler; absent: the default one. */
  handler?: string
  imageName: string
  /** ID of the image; absent when the maker did not tell. */
  imageId?: string
  /** Its name with a digest. */
  imageRef?: string
  /** Empty until it is mounted. */
  rootfs: string
  /** Absolute; absent when the output is not kept. */
  logPath?: string
  /** Name or number. */
  stopSignal: string
  /** Whether the first process's end is the end of all: it has a PID namespace of its own. */
  ownPidNamespace: boolean
  /** It holds its sandbox's namespaces, and is none of the pod's containers. */
  isInfra?: boolean
  /** Something is run on the host after its start, which only the OCI runtime does. */
  hasStartHooks?: boolean
  phase: ContainerPhase
  /** Removal has begun and is to be finished. */
  removing: boolean
  /** Of the boot in which it was made: a later boot has none of its processes. */
  bootId: string
  user?: ResolvedUser
  /** What it asked for and did not get. */
  notes?: string[]
  init?: ProcessRef
  monitor?: ProcessRef
  /** The monitor's own cgroup, made before the monitor is told to begin. */
  monitorCgroup?: string
  /** Limits that were being applied: to be applied again, should that have been cut off. */
  pendingResources?: LinuxContainerResources
  /** Where a checkpoint is being written: it stands still meanwhile. */
  checkpointTo?: string
  createdAt: number
  startedAt?: number
  finishedAt?: number
  exitCode?: number
  /** `Completed`, `Error`, `OOMKilled`, `StartError` or `Unknown`. */
  reason?: string
  message?: string
}
