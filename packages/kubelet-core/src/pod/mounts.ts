// The mounts of a container: its volumes, hosts file, termination message; and block devices.
import { randomBytes } from 'node:crypto'
import { chmod, chown, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type Device,
  type IDMapping,
  type ImageSpec,
  Mount as MountMessage,
  type Mount,
  MountPropagation,
} from '@nodelet/cri-api'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { ContainerConfigError } from './config-error.ts'
import { expand } from './environment.ts'
import { hostNetworkHostsFile, hostsFile, podHostname } from './hostname.ts'
import { absolute, hasReadOnlySource, isRecursive, isWritten, type NewerMount } from './mount-rules.ts'
import type { PodServices } from './services.ts'

const propagations: Record<string, MountPropagation> = {
  HostToContainer: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  Bidirectional: MountPropagation.PROPAGATION_BIDIRECTIONAL,
}

export interface MountFacts {
  /** Volume name → host path. */
  volumes: ReadonlyMap<string, string>
  /** Volume name → image, as it was pulled. */
  images: ReadonlyMap<string, ImageSpec>
  environment: ReadonlyMap<string, string>
  podIPs: readonly string[]
  /** Those of a pod with a user namespace of its own: volumes are shown to it as if its ids were the node's. */
  ids?: IDMapping | undefined
  /** Volumes whose mounts have an SELinux label. */
  labelled?: ReadonlySet<string> | undefined
  /** The pod's runtime handler makes mounts read-only with all that is mounted below. */
  canRecurse: boolean
}

/** Prepares and lists what the container mounts. @throws ContainerConfigError for a volume or path that cannot be */
export async function containerMounts(
  services: Pick<PodServices, 'node' | 'bindSubPath'>,
  pod: Pod,
  container: Container,
  facts: MountFacts,
): Promise<Mount[]> {
  const mounts: Mount[] = []
  for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
    mounts.push(await volumeMount(services, pod, container, mount, index, facts))
  }
  const taken = (path: string): boolean => mounts.some(({ containerPath }) => containerPath === path)
  if (!taken('/etc/hosts')) mounts.push(await hostsMount(services, pod, facts))
  const messagePath = container.terminationMessagePath ?? '/dev/termination-log'
  if (messagePath.startsWith('/')) mounts.push(await terminationMount(services, pod, container, messagePath))
  return mounts
}

async function volumeMount(
  { node, bindSubPath }: Pick<PodServices, 'node' | 'bindSubPath'>,
  pod: Pod,
  container: Container,
  mount: NewerMount,
  index: number,
  { volumes, images, environment, ids, labelled, canRecurse }: MountFacts,
): Promise<Mount> {
  const image = images.get(mount.name)
  if (image) return imageMount(mount, image, environment, canRecurse)
  const volumePath = volumes.get(mount.name)
  if (volumePath === undefined) {
    throw new ContainerConfigError(`cannot find volume "${mount.name}" to mount into container "${container.name}"`)
  }
  const subPath = mount.subPathExpr ? expandStrictly(mount.subPathExpr, environment) : (mount.subPath ?? '')
  const source = pod.spec?.volumes?.find(({ name }) => name === mount.name)
  const isOnlyRead = (mount.readOnly ?? false) || hasReadOnlySource(source)
  const wanted = { rootDir: node.rootDir, podUid: pod.metadata?.uid ?? '', container: container.name }
  const hostPath = subPath
    ? await bindSubPath({ ...wanted, volume: mount.name, volumePath, subPath, index, readOnly: isOnlyRead })
    : volumePath
  return MountMessage.fromPartial({
    hostPath,
    containerPath: absolute(mount.mountPath),
    readonly: isOnlyRead || isWritten(source),
    recursiveReadOnly: isRecursive(mount, canRecurse),
    selinuxRelabel: !source?.hostPath && !labelled?.has(mount.name),
    propagation: propagations[mount.mountPropagation ?? ''] ?? MountPropagation.PROPAGATION_PRIVATE,
    ...(ids && { uidMappings: [ids], gidMappings: [ids] }),
  })
}

/** Read-only by its nature. */
function imageMount(
  mount: NewerMount,
  image: ImageSpec,
  environment: ReadonlyMap<string, string>,
  canRecurse: boolean,
): Mount {
  return MountMessage.fromPartial({
    containerPath: absolute(mount.mountPath),
    readonly: true,
    recursiveReadOnly: isRecursive(mount, canRecurse),
    image,
    imageSubPath: mount.subPathExpr ? expandStrictly(mount.subPathExpr, environment) : (mount.subPath ?? ''),
    propagation: propagations[mount.mountPropagation ?? ''] ?? MountPropagation.PROPAGATION_PRIVATE,
  })
}

function expandStrictly(expression: string, environment: ReadonlyMap<string, string>): string {
  const expanded = expand(expression, environment)
  const missing = /\$\(([^)]*)\)/.exec(expanded.replaceAll('$$', ''))
  if (missing) throw new ContainerConfigError(`missing value for "${missing[1]}"`)
  return expanded
}

/** The hosts file is written anew for each container that starts. */
async function hostsMount(
  { node }: Pick<PodServices, 'node'>,
  pod: Pod,
  { podIPs, ids }: Pick<MountFacts, 'podIPs' | 'ids'>,
): Promise<Mount> {
  const folder = join(node.rootDir, 'pods', pod.metadata?.uid ?? '')
  await mkdir(folder, { recursive: true, mode: 0o750 })
  const hostPath = join(folder, 'etc-hosts')
  const aliases = pod.spec?.hostAliases ?? []
  const text = pod.spec?.hostNetwork
    ? hostNetworkHostsFile(await readFile('/etc/hosts', 'utf8'), aliases)
    : hostsFile(podIPs, podHostname(pod, node.clusterDomain), aliases)
  await writeFile(hostPath, text, { mode: 0o644 })
  if (ids) await chown(hostPath, ids.hostId, ids.hostId)
  return MountMessage.fromPartial({ hostPath, containerPath: '/etc/hosts', selinuxRelabel: true })
}

/** A file of its own for each attempt, so that one never reads the words of another. */
async function terminationMount(
  { node }: Pick<PodServices, 'node'>,
  pod: Pod,
  container: Container,
  containerPath: string,
): Promise<Mount> {
  const folder = join(node.rootDir, 'pods', pod.metadata?.uid ?? '', 'containers', container.name)
  await mkdir(folder, { recursive: true, mode: 0o750 })
  const hostPath = join(folder, randomBytes(4).toString('hex'))
  await writeFile(hostPath, '')
  await chmod(hostPath, 0o666) // past the umask: the container's user must be able to write
  return MountMessage.fromPartial({ hostPath, containerPath, selinuxRelabel: true })
}

/** Block volumes as devices. */
export function containerDevices(pod: Pod, container: Container, volumes: ReadonlyMap<string, string>): Device[] {
  return (container.volumeDevices ?? []).map(({ name, devicePath }) => {
    const hostPath = volumes.get(name)
    if (hostPath === undefined) {
      throw new ContainerConfigError(`cannot find volume "${name}" to pass into container "${container.name}"`)
    }
    const source = pod.spec?.volumes?.find((volume) => volume.name === name)
    return { hostPath, containerPath: devicePath, permissions: hasReadOnlySource(source) ? 'r' : 'mrw' }
  })
}
