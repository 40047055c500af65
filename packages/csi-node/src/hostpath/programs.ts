// The programs that make, copy and grow file systems.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { CsiError } from '../sdk/errors.ts'

/** The smallest image that mkfs makes one in, in bytes. */
export const fileSystems: Record<string, { minimumBytes: number }> = {
  ext4: { minimumBytes: 2 ** 20 },
  xfs: { minimumBytes: 300 * 2 ** 20 },
}

const execute = promisify(execFile)

/** @param fine an exit status that is no failure either @returns what it printed */
async function run(program: string, args: readonly string[], signal?: AbortSignal, fine = 0): Promise<string> {
  // Their words are looked at.
  const env = { ...process.env, LC_ALL: 'C' }
  try {
    return (await execute(program, args, { env, ...(signal && { signal }) })).stdout
  } catch (cause) {
    const { code, stdout = '', stderr, message } = cause as Error & { code?: unknown; stdout?: string; stderr?: string }
    if (code === fine) return stdout
    if (code === 'ENOENT') throw new CsiError('INTERNAL', `${program} is not installed on this node`)
    throw new CsiError('INTERNAL', `${program} failed: ${stderr?.trim() || message}`, { cause })
  }
}

/** Makes a file system in an image. */
export async function format(file: string, fsType: string, signal: AbortSignal): Promise<void> {
  if (fsType === 'xfs') await run('mkfs.xfs', ['-q', '-f', file], signal)
  // As the kubelet makes them: nothing reserved for root, whatever it looks like.
  else await run('mkfs.ext4', ['-q', '-F', '-m0', file], signal)
}

/** Has a mounted file system fill its device. */
export async function grow(fsType: string, device: string, mountPoint: string, signal: AbortSignal): Promise<void> {
  if (fsType === 'xfs') await run('xfs_growfs', [mountPoint], signal)
  else await run('resize2fs', [device], signal)
}

/**
 * Has an ext4 that is not mounted fill its device, which takes no privilege beyond those of a mount. What has begun is not
 * ended by anybody: half of it would be a damaged file system.
 */
export async function growUnmounted(device: string, deviceBytes: number): Promise<void> {
  if (!leavesRoom(await run('dumpe2fs', ['-h', device]), deviceBytes)) return
  // Asked for by resize2fs. One that it could mend is fine.
  await run('e2fsck', ['-f', '-p', device], undefined, 1)
  await run('resize2fs', [device])
}

/** @param header what dumpe2fs tells of a file system */
export function leavesRoom(header: string, deviceBytes: number): boolean {
  const [blocks = 0, size = 0] = ['Block count', 'Block size'].map((name) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)$`, 'm').exec(header)?.[1] ?? 0),
  )
  return blocks > 0 && size > 0 && deviceBytes - blocks * size >= size
}

/** A folder with all that is in it, or an image without its holes; shares blocks where the file system can. */
export async function copy(from: string, to: string, signal: AbortSignal): Promise<void> {
  await run('cp', ['-a', '--reflink=auto', '--sparse=always', '-T', '--', from, to], signal)
}

/** Holds back all writes to a mounted file system, so that a copy of its device is whole. */
export async function freeze(mountPoint: string, signal: AbortSignal): Promise<void> {
  await run('fsfreeze', ['--freeze', mountPoint], signal)
}

export async function unfreeze(mountPoint: string): Promise<void> {
  await run('fsfreeze', ['--unfreeze', mountPoint], AbortSignal.timeout(60_000))
}

/** The same where a killed driver may have left it so: what is not frozen is fine, and the kernel calls it EINVAL. */
export async function unfreezeIfFrozen(mountPoint: string): Promise<void> {
  await unfreeze(mountPoint).catch((error: Error) => {
    if (!error.message.endsWith(': Invalid argument')) throw error
  })
}
