// Files that a container shares with the node get the container's label.
import { opendir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { getXattr, LinuxError, setXattr } from '@nodelet/linux'
import { SpecError } from '../spec/errors.ts'

/** Whose labels the node itself needs. */
const protectedPaths = new Set(
  [
    '/ /bin /boot /dev /etc /etc/passwd /etc/pki /etc/shadow /home /lib /lib64 /media /opt /proc /root /run /sbin /srv /sys',
    '/sys/fs /tmp /usr /usr/bin /usr/lib /usr/local /usr/sbin /usr/share /var /var/lib /var/log /var/run /var/tmp',
  ].flatMap((line) => line.split(' ')),
)

/**
 * Labels a file, or a folder with all in it. Links are labelled, not followed; file systems without labels are left alone.
 *
 * @param path without links
 * @throws SpecError for a folder that is the node's own
 */
export async function relabel(path: string, label: string, signal?: AbortSignal): Promise<void> {
  if (protectedPaths.has(path))
    throw new SpecError(`SELinux relabeling of ${path} is not allowed: mount a folder below`)
  if (setLabel(path, label) && (await stat(path)).isDirectory()) await labelBelow(path, label, signal)
}

async function labelBelow(folder: string, label: string, signal: AbortSignal | undefined): Promise<void> {
  for await (const entry of await opendir(folder)) {
    signal?.throwIfAborted()
    const path = join(folder, entry.name)
    if (setLabel(path, label) && entry.isDirectory()) await labelBelow(path, label, signal)
  }
}

const attribute = 'security.selinux'

/** False where there are no labels. */
export function setLabel(path: string, label: string): boolean {
  try {
    const value = Buffer.from(label)
    // The kernel's answer ends with a zero byte, or not.
    const has = getXattr(path, attribute)
    const isSame = has !== undefined && has.subarray(0, value.length).equals(value) && has.length - value.length <= 1
    if (!isSame) setXattr(path, attribute, value)
    return true
  } catch (error) {
    if (error instanceof LinuxError && (error.code === 'EOPNOTSUPP' || error.code === 'ENOTSUP')) return false
    if (error instanceof LinuxError && error.code === 'ENOENT') return false // gone meanwhile
    throw error
  }
}

/** An option of a mount whose files all have the label. */
export const contextOption = (label: string): string => `context="${label}"`
