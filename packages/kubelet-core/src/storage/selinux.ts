// SELinux labels of volumes: one mount with a label for all of its files, instead of a label on each file.
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CsiVolume } from '@nodelet/csi-node'
import type { Container, Pod, PodSecurityContext, SELinuxOptions } from 'kubernetes-types/core/v1.d.ts'
import { hasCode } from '../errors.ts'

/** What decides of labels on this machine. */
export interface SelinuxFacts {
  /** The policy's label of containers' files. */
  fileLabel: string
  /** Feature gate `SELinuxMount`: also volumes that several pods may have. */
  mountsAll: boolean
}

const usualLabel = 'system_u:object_r:container_file_t:s0'

/** The label of containers' files; undefined: SELinux is off. @param root where `sys` and `etc` are */
export async function readFileLabel(root = '/'): Promise<string | undefined> {
  if (!existsSync(join(root, 'sys/fs/selinux/enforce'))) return undefined
  const folder = join(root, 'etc/selinux')
  const policy = valueOf(await textOf(join(folder, 'config')), 'SELINUXTYPE') ?? 'targeted'
  return valueOf(await textOf(join(folder, policy, 'contexts/lxc_contexts')), 'file') ?? usualLabel
}

const textOf = async (path: string): Promise<string> =>
  readFile(path, 'utf8').catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return ''
    throw error
  })

const valueOf = (text: string, key: string): string | undefined =>
  new RegExp(`^\\s*${key}\\s*=\\s*"?([^"\\s#]+)"?`, 'm').exec(text)?.[1]

/**
 * The label that a volume is mounted with for a pod; undefined: its files are labelled one by one, or not at all. Pure.
 * @param name of the volume in the pod @param isAllowed `CSIDriver.spec.seLinuxMount`
 */
export function mountLabel(
  { fileLabel, mountsAll }: SelinuxFacts,
  { spec }: Pod,
  name: string,
  { volumeMode, accessModes, lifecycle }: Pick<CsiVolume, 'volumeMode' | 'accessModes' | 'lifecycle'>,
  isAllowed: boolean | undefined,
): string | undefined {
  const context: PodSecurityContext & { seLinuxChangePolicy?: string } = spec?.securityContext ?? {}
  if (!isAllowed || volumeMode === 'Block' || context.seLinuxChangePolicy === 'Recursive') return undefined
  const isOnePods =
    lifecycle === 'Persistent' && accessModes.length > 0 && accessModes.every((mode) => mode === 'ReadWriteOncePod')
  if (!isOnePods && !mountsAll) return undefined
  const containers: Pick<Container, 'securityContext' | 'volumeMounts'>[] = [
    ...(spec?.initContainers ?? []),
    ...(spec?.containers ?? []),
    ...(spec?.ephemeralContainers ?? []),
  ]
  const labels = containers
    .filter(({ volumeMounts }) => volumeMounts?.some((mount) => mount.name === name))
    .map(({ securityContext }) => labelOf(fileLabel, securityContext?.seLinuxOptions ?? context.seLinuxOptions))
  const [label] = labels
  return labels.every((one) => one === label) ? label : undefined
}

/** Without a level the runtime picks one that nobody knows beforehand. */
function labelOf(fileLabel: string, { user, role, level }: SELinuxOptions = {}): string | undefined {
  if (!level) return undefined
  const [ofUser, ofRole, type] = fileLabel.split(':')
  return [user || ofUser, role || ofRole, type, level].join(':')
}
