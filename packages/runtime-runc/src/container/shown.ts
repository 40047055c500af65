// What the OCI runtime needs to see under other paths while it makes a container in a user namespace. All of it is
// unmounted when the container is made: its own mounts are copies.
import { chownSync, lstatSync, mkdirSync, readdirSync, rmdirSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { ContainerConfig, Mount } from '@nodelet/cri-api'
import { inUserNamespace, mount, mountIdMapped, sameIdMappings, unmountIfMounted } from '@nodelet/linux'
import { isMissing } from '../files.ts'
import { SpecError } from '../spec/errors.ts'
import type { ContainerFacts } from '../spec/facts.ts'
import { hostId, podRoot } from '../spec/user-namespace.ts'
import type { UserNamespaceFacts } from '../spec/user-namespace.ts'

/**
 * Shows a root file system where the pod's root may walk to: the OCI runtime mounts it as that user, and images and
 * records are for nobody but this process.
 *
 * @throws SpecError naming a folder on the way that is closed.
 */
export function showRootfs(folder: string, rootfs: string): string {
  mkdirSync(folder, { recursive: true, mode: 0o711 })
  for (let path = folder; path !== '/'; path = dirname(path)) {
    if ((statSync(path).mode & 0o001) !== 0) continue
    throw new SpecError(`user namespaces need ${path} to be passed by any user: chmod o+x ${path}`)
  }
  const target = join(folder, 'root')
  mkdirSync(target, { recursive: true })
  mount({ source: rootfs, target, options: ['bind'] })
  return target
}

/** Whether a mount is to show files under other ids. */
export const isIdMapped = ({ uidMappings, gidMappings }: Mount): boolean =>
  uidMappings.length > 0 || gidMappings.length > 0

/**
 * Mounts the sources of id-mapped mounts so, for the OCI runtime to bind: it need not know of mappings itself. Answers
 * where each is, by container path.
 *
 * @throws SpecError when mappings are not whole or the source's file system cannot be id-mapped.
 */
export async function showIdMapped(
  folder: string,
  config: Pick<ContainerConfig, 'mounts'>,
  sources: ContainerFacts['sources'],
  user: UserNamespaceFacts | undefined,
): Promise<Record<string, string>> {
  const shown: Record<string, string> = {}
  for (const [index, one] of config.mounts.entries()) {
    const source = sources[one.hostPath]?.path
    if (!isIdMapped(one) || source === undefined) continue
    const target = join(folder, String(index))
    makeTarget(source, target)
    await idMap(one, source, target, user)
    shown[one.containerPath] = target
  }
  return shown
}

async function idMap(one: Mount, source: string, target: string, user: UserNamespaceFacts | undefined): Promise<void> {
  const mappings = { uids: one.uidMappings, gids: one.gidMappings }
  if (mappings.uids.length === 0 || mappings.gids.length === 0) {
    throw new SpecError(`mount ${one.containerPath} has mappings of users or groups only: give both or none`)
  }
  const map = (userNamespace: string): void => mountIdMapped({ source, target, userNamespace, recursive: true })
  try {
    if (user && sameIdMappings(mappings, user)) map(user.path)
    else await inUserNamespace(mappings, map)
  } catch (cause) {
    throw new SpecError(`mount ${one.containerPath} of ${one.hostPath}: ${(cause as Error).message}`, { cause })
  }
}

function makeTarget(source: string, target: string): void {
  mkdirSync(dirname(target), { recursive: true, mode: 0o711 })
  if (statSync(source).isDirectory()) mkdirSync(target, { recursive: true })
  else writeFileSync(target, '')
}

/** Unmounts what was shown; fine when nothing was. The places stay: the OCI runtime's commands begin in that of the root. */
export function hideShown(folder: string): void {
  for (const name of namesIn(folder)) while (unmountIfMounted(join(folder, name), { detach: true }));
}

/** Removes the places as well, and nothing that may still be mounted there. */
export function removeShown(folder: string): void {
  hideShown(folder)
  for (const name of namesIn(folder)) {
    const path = join(folder, name)
    if (lstatSync(path).isDirectory()) rmdirSync(path)
    else unlinkSync(path)
  }
  try {
    rmdirSync(folder)
  } catch (error) {
    if (!isMissing(error)) throw error
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
}

/**
 * Gives the pipes of a made container's first process to its user, who may then open /dev/stdout and the like: the OCI
 * runtime does that for itself only where it is the node's root.
 */
export function giveStreams(pid: number, { uid, gid }: { uid: number; gid: number }, user: UserNamespaceFacts): void {
  const root = podRoot(user)
  const [owner, group] = [hostId(user.uids, uid) ?? root.uid, hostId(user.gids, gid) ?? root.gid]
  for (const fd of [0, 1, 2]) {
    const path = `/proc/${pid}/fd/${fd}`
    if (statSync(path, { throwIfNoEntry: false })?.isFIFO()) chownSync(path, owner, group)
  }
}
