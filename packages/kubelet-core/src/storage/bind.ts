// Binds of folders, decided by the kernel's table of mounts.
import { type MountInfo, mountSlowly, readMountInfo } from '@nodelet/linux'

export const mountAt = async (path: string): Promise<MountInfo | undefined> =>
  (await readMountInfo('self', { below: path })).findLast(({ mountPoint }) => mountPoint === path)

/** Binds a folder unless one is bound there. Read-only takes a second step, which a kill may have left out. @throws LinuxError */
export async function ensureBound(source: string, target: string, readOnly: boolean): Promise<void> {
  if (!(await mountAt(target))) await mountSlowly({ source, target, options: ['bind'] })
  const { options = [] } = (await mountAt(target)) ?? {}
  if (!readOnly || options.includes('ro')) return
  // What the source's mount does not allow, its bind should not either.
  const kept = options.filter((option) => inherited.has(option))
  await mountSlowly({ source, target, options: ['bind', 'remount', 'ro', ...kept] })
}

const inherited = new Set(['nosuid', 'nodev', 'noexec', 'noatime', 'nodiratime', 'relatime'])
