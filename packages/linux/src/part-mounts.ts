// Mounts that share with others what is mounted on them.
import { mount } from './mount.ts'
import { type MountInfo, readMountInfo } from './mountinfo.ts'

/**
 * Has mounts that are to be unmounted share with no mount elsewhere any more. What is mounted on a folder shows in each bind of it,
 * and an unmount in one bind is one in all, also where it was mounted first. Those that nothing is mounted on stay as they are.
 *
 * @param isLeaving whether a mount at this path is to be unmounted
 * @param isOwn whether mounts at this path may lose what is mounted on them, too; default: those that are leaving
 * @throws LinuxError
 */
export async function partMounts(
  isLeaving: (path: string) => boolean,
  isOwn: (path: string) => boolean = isLeaving,
): Promise<void> {
  const mounts = await readMountInfo()
  const parents = new Set(mounts.map(({ parentId }) => parentId))
  const leaving = mounts.filter(({ id, mountPoint }) => parents.has(id) && isLeaving(mountPoint))
  const others = leaving.length > 0 ? mounts.filter(({ mountPoint }) => !isOwn(mountPoint)) : []
  for (const { mountPoint, optionalFields } of leaving) {
    const group = groupOf(optionalFields, 'shared')
    if (group !== undefined && others.some((one) => hears(one, group)))
      mount({ source: 'none', target: mountPoint, options: ['private'] })
  }
}

const hears = ({ optionalFields }: MountInfo, group: string): boolean =>
  groupOf(optionalFields, 'shared') === group || groupOf(optionalFields, 'master') === group

const groupOf = (fields: readonly string[], kind: 'shared' | 'master'): string | undefined =>
  fields.find((field) => field.startsWith(`${kind}:`))?.slice(kind.length + 1)
