// A sandbox as it is known on disk.
import type { PodSandboxConfig } from '@nodelet/cri-api'
import type { SelinuxLabels } from '../selinux/labels.ts'
import type { CniResult } from '@nodelet/cni-plugins'

/**
 * `creating` is only seen after a crash in the middle. `stopping` has begun to end and is to be finished; like
 * `stopped` it shows as NOTREADY, and neither is ever ready again.
 */
export type SandboxPhase = 'creating' | 'ready' | 'stopping' | 'stopped'

/** Times are milliseconds since the epoch. */
export interface SandboxRecord {
  id: string
  config: PodSandboxConfig
  runtimeHandler: string
  phase: SandboxPhase
  /** Removal has begun and is to be finished. */
  removing: boolean
  /** Of the boot in which it was made: a later boot has none of its namespaces. */
  bootId: string
  createdAt: number
  /** Where the containers' cgroups are. */
  cgroupParent: string
  /** Whether that cgroup was made for this sandbox, and goes with it. */
  ownCgroup: boolean
  /** CNI was asked for a network, and has not yet taken it back. */
  networkOwed: boolean
  /** What CNI gave. */
  network?: CniResult
  /** Absent where labels are off. */
  selinux?: SelinuxLabels
  /** The container that holds the PID namespace which the pod shares. */
  infraId?: string
}
