// What the workers of all pods share.
import type { AuthConfig, ImageService, RuntimeService } from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Admission } from '../admission/admission.ts'
import type { Clock } from '../clock.ts'
import type { CpuManager } from '../cpu/manager.ts'
import type { MemoryManager } from '../memory/manager.ts'
import type { DeviceManager } from '../device/manager.ts'
import type { ClaimManager } from '../dra/manager.ts'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import type { ObjectSource } from '../objects.ts'
import type { ExecInContainer, Prober } from '../probe/types.ts'
import type { CfsQuota } from '../resource/container-resources.ts'
import type { CgroupDriver } from '../resource/cgroup-driver.ts'
import type { Resizer } from '../resize/resizer.ts'
import type { Throttling } from '../resource/memory-high.ts'
import type { SwapFacts } from '../resource/swap.ts'
import type { StatusWriter } from '../status-writer.ts'
import type { bindSubPath } from '../volume/sub-path.ts'
import type { VolumeManager } from '../volume/types.ts'
import type { DnsConfig } from './dns.ts'
import type { Images } from './images.ts'
import type { RuntimeReader } from './runtime-read.ts'
import type { Slots } from './slots.ts'
import type { UserNamespaces } from './user-namespaces.ts'

/** What a worker needs to know of its node. */
export interface NodeFacts {
  nodeName: string
  hostIPs: readonly string[]
  rootDir: string
  podLogsDir: string
  clusterDns: readonly string[]
  clusterDomain: string
  memoryBytes: bigint
  allocatable: Readonly<Record<string, string>>
  thermalThrottle: readonly string[]
  cfsQuota: CfsQuota
  /** Sizes of huge pages that it has, such as `2Mi`. */
  pageSizes: readonly string[]
  /** Undefined where the kernel does not limit swap, and before it is known. */
  swap: SwapFacts | undefined
  /** Undefined without the gate MemoryQoS. */
  throttling: Throttling | undefined
  singleProcessOOMKill: boolean
  seccompDefault: boolean
  /** The longest delay between restarts of a container, in milliseconds. */
  maxRestartMs: number
}

export interface HandlerFeatures {
  userNamespaces: boolean
  recursiveReadOnlyMounts: boolean
}

export interface PodServices {
  node: NodeFacts
  admission: Admission
  resizer: Resizer
  cpus: Pick<CpuManager, 'cpusetOf' | 'exclusiveOf'>
  memory: Pick<MemoryManager, 'memsOf'>
  devices: Pick<DeviceManager, 'answers' | 'preStart' | 'health'>
  claims: Pick<ClaimManager, 'prepare' | 'unprepare' | 'has' | 'cdiIds' | 'health'>
  runtime: RuntimeService
  images: Images
  imageService: ImageService
  /** Credentials for an image that do not come from the pod: of the node's files, and of programs. */
  nodeCredentials(image: string, pod: Pod, signal: AbortSignal): Promise<AuthConfig[]>
  /** As in container IDs: `NAME://ID`. */
  runtimeName: string
  reader: RuntimeReader
  volumes: VolumeManager
  bindSubPath: typeof bindSubPath
  prober: Prober
  objects: ObjectSource
  events: EventRecorder
  statuses: StatusWriter
  slots: Slots
  /** None: the runtime places containers where it likes. */
  cgroups: CgroupDriver | undefined
  exec: ExecInContainer
  /** The node's resolv.conf. */
  resolver(): Promise<DnsConfig>
  /** Why the runtime's network is not ready; undefined when it is. */
  networkProblem(): string | undefined
  /** Sees to it that a static pod has its mirror in the API. */
  mirror?: ((pod: Pod) => void) | undefined
  /** The runtime handler of the pod's RuntimeClass; empty without one. */
  runtimeHandler(pod: Pod): Promise<string>
  userNamespaces: UserNamespaces
  /** What a runtime handler can do; undefined when the runtime does not have it. */
  handlerFeatures(runtimeHandler: string): HandlerFeatures | undefined
  /** Removes a deleted pod from the API for good; undefined without an API. */
  deleteForGood?: ((pod: Pod) => Promise<boolean>) | undefined
  metrics: KubeletMetrics
  /** A pod is gone for good: what waited for that may go on. */
  forgotten?: () => void
  /** How long pods took to start is forgotten with them. */
  starts: { begin(podUid: string): void; forget(podUid: string): void }
  clock: Clock
  log: Logger
}
