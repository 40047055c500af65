// The security contexts of a pod and its container as CRI carries them. Pure.
import {
  type IDMapping,
  type LinuxContainerSecurityContext,
  LinuxContainerSecurityContext as ContainerMessage,
  type LinuxSandboxSecurityContext,
  LinuxSandboxSecurityContext as SandboxMessage,
  SecurityProfile_ProfileType as ProfileType,
  type SecurityProfile,
  SupplementalGroupsPolicy,
} from '@nodelet/cri-api'
import type { AppArmorProfile, Container, Pod, SeccompProfile } from 'kubernetes-types/core/v1.d.ts'
import { ContainerConfigError } from './config-error.ts'
import { podTitle } from './labels.ts'
import { namespaceOptions } from './namespaces.ts'

/** As whom the image runs when nobody says otherwise. */
export interface ImageUser {
  uid?: number
  /** When the image names it by text. */
  username?: string
}

export interface SecurityFacts {
  imageUser: ImageUser
  /** Where Localhost profiles are, for instance `/var/lib/kubelet/seccomp`. */
  seccompFolder: string
  /** KubeletConfiguration `seccompDefault`; default false. */
  seccompDefault?: boolean
  /** The container whose processes an ephemeral container sees. */
  targetId?: string
  /** Those of a pod with a user namespace of its own. */
  ids?: IDMapping | undefined
  /** Groups that the pod's volumes are for, beside those of its spec. */
  volumeGroups?: readonly bigint[] | undefined
  /** Those of `/sys/devices/system/cpu/cpuN/thermal_throttle` that exist. */
  thermalThrottle?: readonly string[]
}

type NewerContext = { supplementalGroupsPolicy?: 'Merge' | 'Strict' }

const maskedPaths = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
]
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']

/** @throws ContainerConfigError when `runAsNonRoot` cannot be kept */
export function containerSecurityContext(
  pod: Pod,
  container: Container,
  facts: SecurityFacts,
): LinuxContainerSecurityContext {
  const ofPod = pod.spec?.securityContext ?? {}
  const own = container.securityContext ?? {}
  const runAsUser = own.runAsUser ?? ofPod.runAsUser
  const runAsGroup = own.runAsGroup ?? ofPod.runAsGroup
  verifyNonRoot(pod, container, own.runAsNonRoot ?? ofPod.runAsNonRoot ?? false, runAsUser, facts.imageUser)
  const username = runAsUser === undefined ? (facts.imageUser.username ?? '') : ''
  // An image that names nobody is root's.
  const uid = runAsUser ?? (username ? undefined : (facts.imageUser.uid ?? 0))
  const selinux = own.seLinuxOptions ?? ofPod.seLinuxOptions
  const appArmor = appArmorOf(pod, container)
  const unmasked = own.procMount === 'Unmasked'
  return ContainerMessage.fromPartial({
    privileged: own.privileged ?? false,
    capabilities: {
      addCapabilities: own.capabilities?.add ?? [],
      dropCapabilities: own.capabilities?.drop ?? [],
    },
    namespaceOptions: namespaceOptions(pod, facts.targetId, facts.ids),
    ...(selinux && { selinuxOptions: selinux }),
    ...(uid !== undefined && { runAsUser: { value: BigInt(uid) } }),
    runAsUsername: username,
    ...(runAsGroup !== undefined && { runAsGroup: { value: BigInt(runAsGroup) } }),
    readonlyRootfs: own.readOnlyRootFilesystem ?? false,
    supplementalGroups: [...supplementalGroups(pod), ...(facts.volumeGroups ?? [])],
    supplementalGroupsPolicy: groupsPolicy(pod),
    noNewPrivs: own.allowPrivilegeEscalation === false,
    maskedPaths: unmasked ? [] : [...maskedPaths, ...(facts.thermalThrottle ?? [])],
    readonlyPaths: unmasked ? [] : readonlyPaths,
    seccomp: seccompOf(own.seccompProfile ?? ofPod.seccompProfile, facts),
    ...(appArmor && { apparmor: profileOf(appArmor, ''), apparmorProfile: legacyAppArmor(appArmor) }),
  })
}

export function sandboxSecurityContext(pod: Pod, ids?: IDMapping): LinuxSandboxSecurityContext {
  const { runAsUser, runAsGroup, seLinuxOptions } = pod.spec?.securityContext ?? {}
  const containers = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])]
  return SandboxMessage.fromPartial({
    namespaceOptions: namespaceOptions(pod, '', ids),
    ...(seLinuxOptions && { selinuxOptions: seLinuxOptions }),
    ...(runAsUser !== undefined && { runAsUser: { value: BigInt(runAsUser) } }),
    ...(runAsGroup !== undefined && { runAsGroup: { value: BigInt(runAsGroup) } }),
    supplementalGroups: supplementalGroups(pod),
    supplementalGroupsPolicy: groupsPolicy(pod),
    privileged: containers.some(({ securityContext }) => securityContext?.privileged),
    seccomp: { profileType: ProfileType.RuntimeDefault, localhostRef: '' },
  })
}

function verifyNonRoot(
  pod: Pod,
  container: Container,
  asked: boolean,
  runAsUser: number | undefined,
  image: ImageUser,
): void {
  if (!asked) return
  const where = `(pod: "${podTitle(pod)}", container: ${container.name})`
  if (runAsUser === 0) throw new ContainerConfigError(`container's runAsUser breaks non-root policy ${where}`)
  if (runAsUser !== undefined) return
  if (image.username) {
    throw new ContainerConfigError(
      `container has runAsNonRoot and image has non-numeric user (${image.username}), cannot verify user is non-root ${where}`,
    )
  }
  if (!image.uid) {
    throw new ContainerConfigError(`container has runAsNonRoot and image will run as root ${where}`)
  }
}

function supplementalGroups(pod: Pod): bigint[] {
  const { fsGroup, supplementalGroups: groups = [] } = pod.spec?.securityContext ?? {}
  return [...(fsGroup === undefined ? [] : [fsGroup]), ...groups].map(BigInt)
}

function groupsPolicy(pod: Pod): SupplementalGroupsPolicy {
  const policy = (pod.spec?.securityContext as NewerContext | undefined)?.supplementalGroupsPolicy
  return policy === 'Strict' ? SupplementalGroupsPolicy.Strict : SupplementalGroupsPolicy.Merge
}

function seccompOf(profile: SeccompProfile | undefined, facts: SecurityFacts): SecurityProfile {
  const { RuntimeDefault, Unconfined } = ProfileType
  if (!profile) return { profileType: facts.seccompDefault ? RuntimeDefault : Unconfined, localhostRef: '' }
  return profileOf(profile, `${facts.seccompFolder}/`)
}

function profileOf({ type, localhostProfile = '' }: SeccompProfile | AppArmorProfile, folder: string): SecurityProfile {
  if (type === 'Localhost') return { profileType: ProfileType.Localhost, localhostRef: folder + localhostProfile }
  const profileType = type === 'Unconfined' ? ProfileType.Unconfined : ProfileType.RuntimeDefault
  return { profileType, localhostRef: '' }
}

/** Field of the container, else the annotation of old, else field of the pod. */
function appArmorOf(pod: Pod, container: Container): AppArmorProfile | undefined {
  if (container.securityContext?.appArmorProfile) return container.securityContext.appArmorProfile
  const annotation = pod.metadata?.annotations?.[`container.apparmor.security.beta.kubernetes.io/${container.name}`]
  if (annotation === 'unconfined') return { type: 'Unconfined' }
  if (annotation === 'runtime/default') return { type: 'RuntimeDefault' }
  if (annotation?.startsWith('localhost/')) return { type: 'Localhost', localhostProfile: annotation.slice(10) }
  return pod.spec?.securityContext?.appArmorProfile
}

function legacyAppArmor({ type, localhostProfile }: AppArmorProfile): string {
  if (type === 'Localhost') return `localhost/${localhostProfile}`
  return type === 'Unconfined' ? 'unconfined' : 'runtime/default'
}
