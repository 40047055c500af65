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

async function run(program: string, args: readonly string[], signal: AbortSignal): Promise<void> {
  // Their words are looked at.
  const env = { ...process.env, LC_ALL: 'C' }
  await execute(program, args, { signal, env }).catch((error: NodeJS.ErrnoException & { stderr?: string }) => {
    if (error.code === 'ENOENT') throw new CsiError('INTERNAL', `${program} is not installed on this node`)
    throw new CsiError('INTERNAL', `${program} failed: ${error.stderr?.trim() || error.message}`, { cause: error })
  })
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

/** A folder with all that is in it, or an image without its holes; shares blocks where the file system can. */
export async function copy(from: string, to: string, signal: AbortSignal): Promise<void> {
  await run('cp', ['-a', '--reflink=auto', '--sparse=always', '-T', '--', from, to], signal)
}

/** Holds back all writes to a mounted file system, so that a copy of its device is whole. */
export const freeze = async (mountPoint: string, signal: AbortSignal): Promise<void> =>
  run('fsfreeze', ['--freeze', mountPoint], signal)

export const unfreeze = async (mountPoint: string): Promise<void> =>
  run('fsfreeze', ['--unfreeze', mountPoint], AbortSignal.timeout(60_000))

/** The same where a killed driver may have left it so: what is not frozen is fine, and the kernel calls it EINVAL. */
export async function unfreezeIfFrozen(mountPoint: string): Promise<void> {
  await unfreeze(mountPoint).catch((error: Error) => {
    if (!error.message.endsWith(': Invalid argument')) throw error
  })
}
