// Runs a program to its end.
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { finished, startProgram } from '@nodelet/linux'
import type { Program } from '@nodelet/linux'
import { isMissing } from './files.ts'
import { killGroup } from './pids.ts'
import { exitCode } from './signals.ts'

/** What a program left behind. */
export interface Finished {
  /** Exit status, or 128 plus the signal's number. */
  code: number
  stdout: string
  stderr: string
}

/** The only environment that runc and conmon need. */
export const programEnv = (): Record<string, string> => ({
  PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
})

/**
 * The absolute path of a program; a name with a slash is taken as it is.
 *
 * @throws Error when no folder of the PATH has it.
 */
export async function findProgram(name: string): Promise<string> {
  if (name.includes('/')) return resolve(name)
  for (const folder of (programEnv()['PATH'] ?? '').split(':')) {
    const path = join(folder, name)
    try {
      await access(path, constants.X_OK)
      return path
    } catch {
      // not in this folder: the next one may have it
    }
  }
  throw new Error(`${name} is not on the PATH: install it or name its path`)
}

/**
 * Runs `file` without a shell and collects its output. When `signal` aborts it is killed, with what it started.
 *
 * @throws Error when it cannot be started or `signal` aborts; a non-zero status is no error.
 */
export async function execFile(file: string, args: readonly string[], signal?: AbortSignal): Promise<Finished> {
  signal?.throwIfAborted()
  const program = started(file, args)
  const aborted = Promise.withResolvers<never>()
  const onAbort = (): void => aborted.reject(signal?.reason)
  signal?.addEventListener('abort', onAbort)
  const end = finished(program)
  try {
    const { code, signal: by, stdout, stderr } = await Promise.race([end, aborted.promise])
    return { code: exitCode(code, by), stdout, stderr }
  } catch (error) {
    killGroup(program.pid)
    await program.ended
    for (const stream of program.stdio) stream?.destroy() // one who left the group may still hold it open
    await Promise.allSettled([end])
    throw error
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

function started(file: string, args: readonly string[]): Program {
  try {
    // A group of its own: a wrapper that is killed must not leave the program that it wraps.
    return startProgram(file, args, { env: programEnv(), stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  } catch (cause) {
    if (!isMissing(cause)) throw cause
    throw new Error(`${file} is not installed: install it or name its path`, { cause })
  }
}
