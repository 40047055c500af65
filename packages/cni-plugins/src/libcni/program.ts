// A plugin's program: found and run once. @see CNI spec 1.1, section 2
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { startProgram } from '@nodelet/linux'
import type { Program } from '@nodelet/linux'
import { z } from 'zod'
import { CniError, cniCode } from '../errors.ts'
import { pluginName } from './names.ts'

export type Command = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION'

export interface Run {
  /** The plugin's type, for messages. */
  type: string
  program: string
  command: Command
  /** Beside this process's environment. */
  env: Record<string, string>
  input: object
  /** Path of the network namespace that it starts in; absent: this process's. */
  netns?: string | undefined
  /** What it says on stderr while it succeeds. */
  onStderr: (text: string) => void
}

/** How long a program may take when the caller sets no limit, in milliseconds. */
export const patienceMs = 120_000
/** More than any result; a program that says more is killed. */
export const longestOutputBytes: number = 4 * 1024 * 1024
/** As often a program is tried that somebody writes to, one second apart. */
const busyTries = 5
const busyPauseMs = 1_000
/** How much of what a program said an error shows, in characters. */
const shownLength = 200

/** Finds a plugin's program. @throws CniError naming the folders that were looked into, and why else it may be missing */
export async function findPlugin(type: string, binDirs: readonly string[], details?: string): Promise<string> {
  if (!pluginName.test(type)) throw new CniError(cniCode.badConfig, `invalid plugin name: ${JSON.stringify(type)}`)
  for (const folder of binDirs) {
    const path = join(folder, type)
    if (await isFile(path)) return path
  }
  throw new CniError(cniCode.badConfig, `failed to find plugin "${type}" in path [${binDirs.join(' ')}]`, { details })
}

/** False for what is not there: another folder may have it. */
async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile()
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
}

/** Its stdout. @throws CniError that tells how it failed: by an error of its own, a signal, silence, too much, no answer in time */
export async function runPlugin(run: Run, signal: AbortSignal): Promise<string> {
  const { type, command, input, onStderr } = run
  const limit = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)])
  try {
    const started = await start(run, limit)
    const { stdin, stdout, stderr } = started
    stdin?.on('error', () => undefined) // it did not read all: its answer tells
    stdin?.end(JSON.stringify(input))
    // A child of its own may hold the pipes open after it was killed.
    const letGo = (): void => [stdout, stderr].forEach((stream) => stream?.destroy())
    limit.addEventListener('abort', letGo)
    try {
      const tooMuch = (): CniError => {
        started.kill('SIGKILL')
        return new CniError(
          cniCode.decoding,
          `plugin "${type}" said more than ${longestOutputBytes} bytes and was killed`,
        )
      }
      const [out, err, ended] = await Promise.all([collect(stdout, tooMuch), collect(stderr, tooMuch), started.ended])
      limit.throwIfAborted()
      const how = ended.code ?? ended.signal ?? 0
      if (how !== 0) throw failure(type, out, err, how)
      if (err.trim() !== '') onStderr(err.trim())
      return out
    } finally {
      limit.removeEventListener('abort', letGo)
    }
  } catch (error) {
    if (!limit.aborted || error instanceof CniError) throw error
    throw new CniError(cniCode.tryAgain, `plugin "${type}" gave no answer to ${command} in time and was killed`, {
      cause: error,
    })
  }
}

async function start({ type, program, command, env, netns }: Run, limit: AbortSignal): Promise<Program> {
  for (let tries = 1; ; tries += 1) {
    try {
      return startProgram(program, [], {
        env: { ...process.env, ...env, CNI_COMMAND: command },
        signal: limit,
        stdio: ['pipe', 'pipe', 'pipe'],
        ...(netns !== undefined && { netns }),
      })
    } catch (cause) {
      limit.throwIfAborted()
      const { code, message } = cause as NodeJS.ErrnoException
      if (code !== 'ETXTBSY' || tries > busyTries) {
        throw new CniError(cniCode.internal, `plugin "${type}": cannot run ${program}: ${message}`, { cause })
      }
      await setTimeout(busyPauseMs, undefined, { signal: limit })
    }
  }
}

async function collect(stream: Readable | undefined, tooMuch: () => CniError): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of stream ?? []) {
    const bytes = chunk as Buffer
    size += bytes.length
    if (size > longestOutputBytes) throw tooMuch()
    chunks.push(bytes)
  }
  return Buffer.concat(chunks).toString()
}

/** What a program said, for messages. */
export const shown = (out: string): string => JSON.stringify(out.slice(0, shownLength))

const errorSchema = z.object({ code: z.number().int(), msg: z.string(), details: z.string().optional() })

/** What a program's answer means that failed. */
export function failure(type: string, out: string, err: string, code: string | number): CniError {
  const how = typeof code === 'number' ? `exit status ${code}` : `signal: ${code}`
  if (out.trim() === '') {
    const said = err.trim() === '' ? ' with no error message' : `: ${shown(err.trim())}`
    return new CniError(cniCode.internal, `plugin "${type}": netplugin failed${said}: ${how}`)
  }
  try {
    const { code: number, msg, details } = errorSchema.parse(JSON.parse(out))
    return new CniError(number, `plugin "${type}": ${msg}`, { details })
  } catch (cause) {
    return new CniError(
      cniCode.decoding,
      `plugin "${type}": netplugin failed but error parsing its diagnostic message ${shown(out)}: ${how}`,
      { cause },
    )
  }
}
