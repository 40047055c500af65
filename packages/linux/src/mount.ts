// Mounts, bind mounts, and their removal. Needs root (CAP_SYS_ADMIN).
import { LinuxError } from './errors.ts'
import { call, callSlowly } from './libc.ts'
import { mountWords } from './mount-words.ts'

const detachFlag = 2

export interface MountOptions {
  /** A device, a folder to bind, or a name for file systems without one. */
  source: string
  target: string
  /** The file system; not given for binds, remounts and propagation changes. */
  type?: string
  /**
   * As in fstab: flags such as `ro`, `rbind`, `rprivate`, and the file system's own words such as `size=1m`. Words for readers of
   * fstab, such as `defaults`, `nofail` and `x-…`, are fine.
   */
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
  const { flags, data } = mountWords(options)
  return [source, target, type ?? null, flags, data || null]
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
