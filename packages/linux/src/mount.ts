// Mounts, bind mounts, and their removal. Needs root (CAP_SYS_ADMIN).
import { LinuxError } from './errors.ts'
import { call, callSlowly } from './libc.ts'

/** fstab words that are flags of mount(2); every other word goes to the file system as data. */
const flags: Record<string, number> = {
  ro: 0x1,
  nosuid: 0x2,
  nodev: 0x4,
  noexec: 0x8,
  remount: 0x20,
  noatime: 0x400,
  bind: 0x1000,
  rbind: 0x5000,
  unbindable: 0x2_0000,
  private: 0x4_0000,
  rprivate: 0x4_4000,
  slave: 0x8_0000,
  rslave: 0x8_4000,
  shared: 0x10_0000,
  rshared: 0x10_4000,
  relatime: 0x20_0000,
}
const detachFlag = 2

export interface MountOptions {
  /** A device, a folder to bind, or a name for file systems without one. */
  source: string
  target: string
  /** The file system; not given for binds, remounts and propagation changes. */
  type?: string
  /** As in fstab: flags such as `ro`, `rbind`, `rprivate`, and the file system's own words such as `size=1m`. */
  options?: readonly string[]
}

/** One mount(2). A read-only bind takes two: a bind, then `remount,bind,ro`. @throws LinuxError */
export function mount(options: MountOptions): void {
  call('mount', `${options.source} on ${options.target}`, ...mountArguments(options))
}

/** As `mount`, but on another thread: a journal is replayed, a device waited for, while this one goes on. @throws LinuxError */
export async function mountSlowly(options: MountOptions): Promise<void> {
  if ((await callSlowly('mount', ...mountArguments(options))) === 0) return
  // Refused, without effect. What for, only the thread that called knows: this one asks again.
  mount(options)
}

function mountArguments({ source, target, type, options = [] }: MountOptions): (string | number | null)[] {
  const flag = options.reduce((sum, word) => sum | (flags[word] ?? 0), 0)
  const data = options.filter((word) => word !== 'rw' && flags[word] === undefined).join(',')
  return [source, target, type ?? null, flag, data || null]
}

/** Unmounts; with `detach` also what is busy, which then goes when its last user does. @throws LinuxError */
export function unmount(target: string, { detach = false }: { detach?: boolean } = {}): void {
  call('umount2', target, target, detach ? detachFlag : 0)
}

/** As `unmountIfMounted`, but on another thread: all that is not yet written is. @throws LinuxError for every other refusal */
export async function unmountSlowly(target: string, { detach = false }: { detach?: boolean } = {}): Promise<boolean> {
  if ((await callSlowly('umount2', target, detach ? detachFlag : 0)) === 0) return true
  return unmountIfMounted(target, { detach }) // refused: this thread hears why
}

/** Unmounts if something is mounted there and says whether it was. @throws LinuxError for every other refusal */
export function unmountIfMounted(target: string, options?: { detach?: boolean }): boolean {
  try {
    unmount(target, options)
    return true
  } catch (error) {
    // EINVAL: not a mount point.
    if (error instanceof LinuxError && (error.code === 'EINVAL' || error.code === 'ENOENT')) return false
    throw error
  }
}
