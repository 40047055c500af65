// What metrics are made from: the readings of one container or pod.
import type { LinuxContainerResources } from '@nodelet/cri-api'
import type { Sample } from '../container/stats.ts'
import type { DiskUsage } from '../snapshot/disk-usage.ts'
import type { LinkCounters } from './links.ts'
import type { ProcessUsage } from './processes.ts'

/** The file system that holds what containers write. */
export interface StoreFilesystem {
  /** For instance `/dev/vda1`. */
  device: string
  major: number
  minor: number
  bytes: number
  inodes: number
  freeInodes: number
}

/** Of a container that runs, or of a pod. */
export interface Subject {
  sample: Sample
  /** When it was started, in milliseconds since the epoch. */
  startedAt: number
  resources?: LinuxContainerResources | undefined
  processes?: ProcessUsage | undefined
  filesystem?: StoreFilesystem | undefined
  written?: DiskUsage | undefined
  /** Only pods have links. */
  links?: readonly LinkCounters[]
}
