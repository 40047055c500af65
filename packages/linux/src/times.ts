// Times of files, to the nanosecond.
import { call } from './libc.ts'

const currentFolder = -100
const noFollow = 0x100
/** Seconds; file systems clamp to their own limits, which are nearer. */
const furthest = 1n << 40n
const second = 1_000_000_000n

/**
 * Sets the times of a file, or of a symlink itself.
 * @param accessed nanoseconds since 1970; negative before
 * @throws LinuxError
 */
export function setTimes(path: string, accessed: bigint, modified: bigint): void {
  const times = Buffer.alloc(32)
  for (const [index, time] of [accessed, modified].entries()) {
    const rest = ((time % second) + second) % second
    const seconds = (time - rest) / second
    const isFar = seconds > furthest || seconds < -furthest
    times.writeBigInt64LE(isFar ? (seconds > 0n ? furthest : -furthest) : seconds, index * 16)
    times.writeBigInt64LE(isFar ? 0n : rest, index * 16 + 8)
  }
  call('utimensat', path, currentFolder, path, times, noFollow)
}
