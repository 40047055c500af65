// The JSON of `/stats/summary`. @see k8s.io/kubelet/pkg/apis/stats/v1alpha1

export interface PsiData {
  total: number
  avg10: number
  avg60: number
  avg300: number
}

export interface Psi {
  full: PsiData
  some: PsiData
}

export interface CpuJson {
  time: string
  usageNanoCores?: number
  usageCoreNanoSeconds?: number
  psi?: Psi
}

export interface MemoryJson {
  time: string
  availableBytes?: number
  usageBytes?: number
  workingSetBytes?: number
  rssBytes?: number
  pageFaults?: number
  majorPageFaults?: number
  psi?: Psi
}

export interface FsJson {
  time: string
  availableBytes?: number
  capacityBytes?: number
  usedBytes?: number
  inodesFree?: number
  inodes?: number
  inodesUsed?: number
}

export interface InterfaceJson {
  name: string
  rxBytes?: number
  rxErrors?: number
  txBytes?: number
  txErrors?: number
}

export type NetworkJson = { time: string; interfaces?: InterfaceJson[] } & Partial<InterfaceJson>

export interface SwapJson {
  time: string
  swapAvailableBytes?: number
  swapUsageBytes?: number
}

export interface ContainerJson {
  name: string
  startTime: string | null
  cpu?: CpuJson
  memory?: MemoryJson
  io?: { time: string; psi?: Psi }
  rootfs?: FsJson
  logs?: FsJson
  swap?: SwapJson
}

export type VolumeJson = FsJson & {
  name: string
  pvcRef?: { name: string; namespace: string }
  volumeHealthStats?: { abnormal: boolean }
}

export interface PodJson {
  podRef: { name: string; namespace: string; uid: string }
  startTime: string | null
  containers: ContainerJson[]
  cpu?: CpuJson
  memory?: MemoryJson
  io?: { time: string; psi?: Psi }
  network?: NetworkJson
  volume?: VolumeJson[]
  'ephemeral-storage'?: FsJson
  process_stats?: { process_count: number }
  swap?: SwapJson
}

export interface NodeJson {
  nodeName: string
  systemContainers?: ContainerJson[]
  startTime: string
  cpu?: CpuJson
  memory?: MemoryJson
  io?: { time: string; psi?: Psi }
  network?: NetworkJson
  fs?: FsJson
  runtime?: { imageFs?: FsJson; containerFs?: FsJson }
  rlimit?: { time: string; maxpid: number; curproc: number }
  swap?: SwapJson
}

export interface Summary {
  node: NodeJson
  pods: PodJson[]
}
