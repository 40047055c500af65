// What the spec depends on besides the two CRI messages: all of it data, gathered at the edge.
import type { RuntimeHandlerFeatures } from '@nodelet/cri-api'
import type { ResolvedEdits } from '../cdi/cdi.ts'
import type { CgroupDriver, HandlerOptions } from '../handlers.ts'
import type { SelinuxLabels } from '../selinux/labels.ts'
import type { OciDevice, OciSeccomp } from './oci.ts'
import type { UserNamespaceFacts } from './user-namespace.ts'
import type { ResolvedUser } from './users.ts'

/** The `config` object of an image, as far as a container's process depends on it. */
export interface ImageConfig {
  Entrypoint?: string[] | null
  Cmd?: string[] | null
  Env?: string[] | null
  WorkingDir?: string
  User?: string
  StopSignal?: string
  Volumes?: Record<string, object> | null
}

/** The pod's pinned namespaces and files. Paths are absolute. */
export interface SandboxFacts {
  id: string
  hostname: string
  /** Absent for a sandbox in the host's network. */
  networkPath?: string
  ipcPath?: string
  utsPath?: string
  /** Present when the pod shares one PID namespace. */
  pidPath?: string
  /** Whether the pod's PID namespace is the node's. Default: false. */
  nodePids?: boolean
  hostnameFile?: string
  hostsFile?: string
  resolvConfFile?: string
  /** The pod's own tmpfs for /dev/shm. */
  shmPath?: string
  /** Absent where labels are off. Containers have the pod's level unless they ask for their own. */
  selinux?: SelinuxLabels
  /** Present when the pod has a user namespace of its own: all else that is pinned belongs to it, and the files to its root. */
  userNamespace?: UserNamespaceFacts
}

/** The machine. `readHostFacts` gathers it once. */
export interface HostFacts {
  /** As Go names it, for instance `amd64`. */
  arch: string
  /** Kernel major and minor. */
  kernel: readonly [number, number]
  cgroupVersion: 1 | 2
  /** Which of `nsdelegate` and `memory_recursiveprot` the host's cgroup v2 mount has: a mount without them drops them. */
  cgroupOptions: readonly string[]
  /** Whether huge pages can be limited. */
  hugetlb: boolean
  /** Whether memory+swap can be limited. */
  swapLimit: boolean
  /** Capabilities that this process may hand out, `CAP_` names. */
  capabilities: readonly string[]
  oomScoreAdj: number
  /** Whether a score below `oomScoreAdj` may be set; without it runc fails on a lower one. */
  canLowerOomScore: boolean
  seccomp: boolean
  apparmor: boolean
  /** The profile of containers that ask for none; absent when it could not be loaded. */
  apparmorDefault?: string
}

/** The runtime handler, and what its program can do. */
export interface HandlerFacts extends Pick<
  HandlerOptions,
  'podAnnotations' | 'containerAnnotations' | 'privilegedWithoutHostDevices' | 'cgroupWritable'
> {
  features: RuntimeHandlerFeatures
  cgroupDriver: CgroupDriver
  /** Whether network devices of the host can be moved into containers. Default: false. */
  netDevices?: boolean
}

/** How the file system under a mount's host path propagates. */
export type SourcePropagation = 'shared' | 'slave' | 'private'

/** What a mount's host path is on this machine. */
export interface MountSource {
  /** Without links. */
  path: string
  propagation: SourcePropagation
  /** What holds it; looked up only when the propagation matters. */
  mountPoint?: string
}

/** Everything about one container that is looked up before its spec is built. */
export interface ContainerFacts {
  id: string
  /** Absolute path of the mounted root file system. */
  rootfs: string
  user: ResolvedUser
  imageName?: string
  /** Process whose PID namespace is joined when the configuration says TARGET. */
  targetPid?: number
  /** By CRI host path. */
  sources: Readonly<Record<string, MountSource>>
  /** By container path of a mount that has an image: what is mounted there. */
  imageMounts?: Readonly<Record<string, string>>
  /** By container path of a mount with id mappings: where its source is mounted so. */
  idMapped?: Readonly<Record<string, string>>
  /** By volume path of the image: the host directory that holds it. */
  imageVolumes: Readonly<Record<string, string>>
  /** By CRI host path: the device nodes found there. */
  devices: Readonly<Record<string, readonly OciDevice[]>>
  /** All device nodes of the host, for privileged containers. */
  hostDevices: readonly OciDevice[]
  /** What its CDI devices change. */
  cdi?: readonly ResolvedEdits[]
  /** Names of the AppArmor profiles that are loaded now, if one of them is asked for. */
  apparmorProfiles?: readonly string[]
  /** Whose devices it has that it names, if not their owner's on the host. */
  deviceOwner?: { uid?: number; gid?: number }
  /** Whether it only holds its pod's namespaces. */
  isInfra?: boolean
  /** The parsed file of a `Localhost` seccomp profile. */
  localhostSeccomp?: OciSeccomp
}
