// What may hang with a server or a program of its file system is done by a process apart, which can be ended: neither the event loop
// nor a thread of this process waits.
import type { VolumeStats } from '@nodelet/csi-node'
import { finished, startProgram } from '@nodelet/linux'
import { mountAt } from './bind.ts'

/** How long a program may take, in milliseconds. */
const [statMs, unmountMs] = [30_000, 60_000]
/** How long one that was killed may take to go before nobody waits for it. */
const dyingMs = 2_000

/** Types of file systems whose files are with a server, or with a program. */
const remote = /^(nfs4?|cifs|smb3|smbfs|ceph|9p|virtiofs|afs|lustre|beegfs|gpfs|gfs2|ocfs2|fuse(\..*)?|fuseblk)$/

/** Whether a look at a file system of this type may take for ever. */
export const mayHang = (type: string): boolean => remote.test(type)

/** A program that failed, or was ended. */
export class ProgramError extends Error {
  override readonly name = 'ProgramError'
  /** What it printed for its user. */
  readonly output: string
  /** It did not end in time. */
  readonly isLate: boolean

  constructor(message: string, output: string, isLate: boolean) {
    super(message)
    this.output = output
    this.isLate = isLate
  }
}

/**
 * @returns what it printed
 * @throws ProgramError; LinuxError when it cannot be started; the signal's reason
 */
export async function runApart(
  program: string,
  words: readonly string[],
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal | undefined },
): Promise<string> {
  signal?.throwIfAborted()
  // A session of its own, so that what it runs goes with it.
  const child = startProgram(program, words, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, LC_ALL: 'C' },
  })
  const patience = AbortSignal.timeout(timeoutMs)
  const ended = signal ? AbortSignal.any([signal, patience]) : patience
  const given = Promise.withResolvers<never>()
  // Given up when the race below is over: nobody hears of it any more.
  given.promise.catch(() => undefined)
  let dying: NodeJS.Timeout | undefined
  const end = (): void => {
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // It has just ended.
    }
    dying = setTimeout(() => given.reject(late()), dyingMs)
  }
  const late = (): ProgramError => new ProgramError(`no answer in ${timeoutMs / 1000} s`, '', true)
  ended.addEventListener('abort', end, { once: true })
  try {
    const { code, stdout, stderr } = await Promise.race([finished(child), given.promise])
    if (code === 0) return stdout
    signal?.throwIfAborted()
    if (patience.aborted) throw late()
    throw new ProgramError(code === null ? 'it was killed' : `exit status ${code}`, stderr || stdout, false)
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  } finally {
    clearTimeout(dying)
    ended.removeEventListener('abort', end)
    child.unref()
    for (const stream of child.stdio) stream?.destroy()
  }
}

/** How full a file system is. @throws ProgramError: also when it does not answer; the signal's reason */
export async function readVolumeApart(path: string, signal?: AbortSignal): Promise<VolumeStats> {
  const text = await runApart('stat', ['-f', '-c', '%S %b %f %a %c %d', '--', path], { timeoutMs: statMs, signal })
  const [size = 0, blocks = 0, free = 0, available = 0, files = 0, filesFree = 0] = text.trim().split(' ').map(Number)
  return {
    bytes: { total: blocks * size, available: available * size, used: (blocks - free) * size },
    inodes: { total: files, available: filesFree, used: files - filesFree },
  }
}

/** @throws Error: what is mounted at a path does not answer */
export async function checkAnswers(path: string, timeoutMs: number = statMs): Promise<void> {
  // This is never answered from what was heard before.
  await runApart('stat', ['-f', '-c', '%i', '--', path], { timeoutMs }).catch((cause: unknown) => {
    if (cause instanceof ProgramError && cause.isLate) throw new Error(`${path} does not answer`, { cause })
    // What is wrong with it, whoever looks next is told.
  })
}

/**
 * Unmounts one mount, by force when that takes too long. Safe to run again: what is not mounted is fine.
 * @throws Error in the words of the Go kubelet, with what umount said
 */
export async function unmountApart(path: string, patienceMs: number = unmountMs): Promise<void> {
  // Written out, `-c` has umount not look at the path.
  const unmount = async (words: readonly string[]): Promise<void> => {
    try {
      await runApart('umount', words, { timeoutMs: patienceMs })
    } catch (cause) {
      // It may be gone from the table, and only its last writes wait for the server.
      if (await mountAt(path)) throw cause
    }
  }
  if (!(await mountAt(path))) return
  const plain = ['-c', path]
  try {
    await unmount(plain)
  } catch (cause) {
    if (!(cause instanceof ProgramError && cause.isLate)) throw programFailure('umount', 'Unmounting', plain, cause)
    const forced = ['-c', '-f', path]
    await unmount(forced).catch((error: unknown) => {
      throw programFailure('umount', 'Unmounting', forced, error)
    })
  }
}

/** In the words of the Go kubelet. @param doing `Mounting` or `Unmounting` */
export function programFailure(program: string, doing: string, words: readonly string[], cause: unknown): Error {
  const { message } = cause as Error
  const output = cause instanceof ProgramError ? cause.output : ''
  const text = `${doing.slice(0, -3).toLowerCase()} failed: ${message}\n${doing} command: ${program}\n${doing} arguments: ${words.join(' ')}\nOutput: ${output}`
  return new Error(text, { cause })
}
