// What one container's spec depends on, looked up.
import { mkdir, readFile, realpath } from 'node:fs/promises'
import { join, posix } from 'node:path'
import { MountPropagation, SecurityProfile_ProfileType as ProfileType } from '@nodelet/cri-api'
import type { ContainerConfig } from '@nodelet/cri-api'
import { readMountInfo } from '@nodelet/linux'
import type { MountInfo } from '@nodelet/linux'
import { askedCdiDevices } from '../cdi/asked.ts'
import type { Cdi } from '../cdi/cdi.ts'
import { isMissing } from '../files.ts'
import { SpecError } from '../spec/errors.ts'
import type { ContainerFacts, ImageConfig, MountSource, SourcePropagation } from '../spec/facts.ts'
import type { OciSeccomp } from '../spec/oci.ts'
import { askedApparmor } from '../spec/apparmor.ts'
import { askedSeccomp } from '../spec/seccomp.ts'
import { parseSeccompFile } from '../spec/seccomp-file.ts'
import { podRoot } from '../spec/user-namespace.ts'
import type { UserNamespaceFacts } from '../spec/user-namespace.ts'
import { resolveUser } from '../spec/users.ts'
import { loadedProfiles } from './apparmor.ts'
import { devicesAt, hostDevices } from './devices.ts'
import { copyFromRoot, readInRoot } from './rootfs.ts'
import { showIdMapped } from './shown.ts'

/** What `gatherFacts` needs to know already. */
export interface FactsInput {
  id: string
  rootfs: string
  config: ContainerConfig
  image: ImageConfig
  imageName?: string
  imageMounts: Readonly<Record<string, string>>
  userNamespace: UserNamespaceFacts | undefined
  /** Folder where sources are shown under other ids until the container is made. */
  shownDir: string
  /** Folder where the image's volumes are made. */
  volumesDir: string
  targetPid?: number
  cdi: Cdi
  /** Whether it only holds its pod's namespaces. */
  isInfra: boolean
  /** Whether devices belong to the container's user. */
  ownsDevices: boolean
  signal?: AbortSignal
}

/** Looks up users, mount sources, devices and the seccomp file, and makes the image's volumes and missing sources. */
export async function gatherFacts(input: FactsInput): Promise<ContainerFacts> {
  const { id, rootfs, config, image, imageName, targetPid } = input
  const security = config.linux?.securityContext
  const [passwd, group] = ['/etc/passwd', '/etc/group'].map((path) => readInRoot(rootfs, path))
  const sources = await mountSources(config)
  const localhostSeccomp = await seccompFile(config)
  const apparmorType = askedApparmor(security).type
  return {
    id,
    rootfs,
    user: resolveUser(security, image.User ?? '', passwd ?? '', group ?? ''),
    sources,
    idMapped: await showIdMapped(input.shownDir, config, sources, input.userNamespace),
    imageMounts: input.imageMounts,
    imageVolumes: await imageVolumes(input),
    devices: Object.fromEntries(
      await Promise.all(config.devices.map(async ({ hostPath }) => [hostPath, await devicesIfAny(hostPath)] as const)),
    ),
    cdi: await input.cdi.resolve(askedCdiDevices(config)),
    hostDevices: security?.privileged ? await hostDevices() : [],
    ...(imageName === undefined ? {} : { imageName }),
    ...(targetPid === undefined ? {} : { targetPid }),
    ...(apparmorType === ProfileType.Localhost ? { apparmorProfiles: await loadedProfiles() } : {}),
    ...(input.isInfra ? { isInfra: true } : {}),
    ...(input.ownsDevices ? { deviceOwner: deviceOwner(config) } : {}),
    ...(localhostSeccomp ? { localhostSeccomp } : {}),
  }
}

/** As far as the security context names its user. */
function deviceOwner({ linux }: ContainerConfig): { uid?: number; gid?: number } {
  const { runAsUser, runAsGroup } = linux?.securityContext ?? {}
  return {
    ...(runAsUser ? { uid: Number(runAsUser.value) } : {}),
    ...(runAsGroup ? { gid: Number(runAsGroup.value) } : {}),
  }
}

async function mountSources(config: ContainerConfig): Promise<ContainerFacts['sources']> {
  const asked = config.mounts.filter(({ hostPath }) => hostPath !== '')
  const needsMounts = asked.some(({ propagation }) => propagation !== MountPropagation.PROPAGATION_PRIVATE)
  const mounts = needsMounts ? await readMountInfo() : []
  const sources: Record<string, MountSource> = {}
  for (const { hostPath } of asked) {
    const path = await realpathOrMake(hostPath)
    const mountPoint = mountOf(path, mounts)?.mountPoint
    sources[hostPath] = {
      path,
      propagation: propagationOf(path, mounts),
      ...(mountPoint === undefined ? {} : { mountPoint }),
    }
  }
  return sources
}

async function realpathOrMake(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if (!isMissing(error)) throw error
    try {
      await mkdir(path, { recursive: true, mode: 0o755 }) // as other runtimes do
      return await realpath(path)
    } catch (cause) {
      const { message } = cause as Error
      throw new SpecError(`host path ${path} is not there and cannot be made: ${message}`, { cause })
    }
  }
}

/** How the mount that holds `path` propagates. */
export function propagationOf(path: string, mounts: readonly MountInfo[]): SourcePropagation {
  const mount = mountOf(path, mounts)
  const has = (tag: string): boolean => mount?.optionalFields.some((field) => field.startsWith(tag)) ?? false
  return has('shared:') ? 'shared' : has('master:') ? 'slave' : 'private'
}

/** The mount that holds `path`: of the longest mount point that is a parent, the latest of equals. */
export function mountOf(path: string, mounts: readonly MountInfo[]): MountInfo | undefined {
  let best: MountInfo | undefined
  for (const mount of mounts) {
    const prefix = mount.mountPoint === '/' ? '/' : `${mount.mountPoint}/`
    if (!`${path}/`.startsWith(prefix)) continue
    if (!best || mount.mountPoint.length >= best.mountPoint.length) best = mount
  }
  return best
}

async function imageVolumes({
  image,
  config,
  rootfs,
  volumesDir,
  userNamespace,
  signal,
}: FactsInput): Promise<Record<string, string>> {
  const covered = new Set(config.mounts.map(({ containerPath }) => posix.resolve('/', containerPath)))
  const paths = Object.keys(image.Volumes ?? {}).filter((path) => !covered.has(posix.resolve('/', path)))
  const volumes: Record<string, string> = {}
  for (const [index, path] of paths.entries()) {
    const target = join(volumesDir, String(index))
    await copyFromRoot(rootfs, path, target, { owner: podRoot(userNamespace), ...(signal ? { signal } : {}) })
    volumes[path] = target
  }
  return volumes
}

async function devicesIfAny(hostPath: string): ReturnType<typeof devicesAt> {
  try {
    return await devicesAt(hostPath)
  } catch (error) {
    if (isMissing(error)) return [] // the spec names the device that is not there
    throw error
  }
}

async function seccompFile(config: ContainerConfig): Promise<OciSeccomp | undefined> {
  const { type, ref } = askedSeccomp(config.linux?.securityContext)
  if (type !== ProfileType.Localhost) return undefined
  try {
    return parseSeccompFile(await readFile(ref, 'utf8'))
  } catch (cause) {
    const { message } = cause as Error
    throw new SpecError(`seccomp profile ${ref} cannot be used: ${message}; put a valid one on this node`, { cause })
  }
}
