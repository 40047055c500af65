// A program in a container with its client's streams.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CriError } from '@nodelet/cri-api'
import type { TerminalSize } from '@nodelet/linux'
import { endProgram } from '../container/exec.ts'
import { runcReason } from '../runc.ts'
import type { OciProcess, OciSpec } from '../spec/oci.ts'
import { requireRunning } from './adapters.ts'
import type { StreamContext } from './adapters.ts'
import { startWithPipes, startWithTerminal } from './exec-process.ts'
import type { ExecProcess } from './exec-process.ts'
import { fileAppears } from './file-appears.ts'
import { streamFolderPrefix } from './leftovers.ts'
import type { ExecStreamRequest, StreamIO } from './types.ts'

/** How long a terminal's start waits for the size that clients send first: programs look at it at once. */
const SIZE_WAIT_MS = 200

/**
 * Runs a program in a running container, as the container's user, and returns its exit code. It is killed with its
 * process group when the client leaves.
 *
 * @throws CriError NOT_FOUND; FAILED_PRECONDITION when the container does not run; UNKNOWN with runc's reason when the
 *   program cannot be run.
 */
export async function execIn(
  context: StreamContext,
  request: ExecStreamRequest,
  io: StreamIO,
  signal: AbortSignal,
): Promise<number> {
  const { containerId: id, command, tty } = request
  requireRunning(context, id)
  if (command.length === 0) throw new CriError('INVALID_ARGUMENT', `exec in container ${id}: the command is empty`)
  const size = tty ? await firstSize(io) : undefined
  signal.throwIfAborted()
  const bundle = join(context.folders.bundles, id)
  const folder = await mkdtemp(join(bundle, streamFolderPrefix))
  try {
    const { process: base } = JSON.parse(await readFile(join(bundle, 'config.json'), 'utf8')) as OciSpec
    const pidFile = join(folder, 'pid')
    const processFile = join(folder, 'process.json')
    await writeFile(processFile, JSON.stringify(processSpec(base, request, size)))
    const { binary, globalArgs } = context.containers.runc(id)
    const args = [...globalArgs, 'exec', '--process', processFile, '--pid-file', pidFile, id]
    const child = tty ? startWithTerminal(binary, args, size) : startWithPipes(binary, args, request)
    return await follow(child, { id, pidFile, io, signal })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** The container's own process with another command. */
function processSpec(base: OciProcess, { command, tty }: ExecStreamRequest, size?: TerminalSize): object {
  const named = base.env.some((variable) => variable.startsWith('TERM='))
  return {
    ...base,
    args: command,
    terminal: tty,
    env: tty && !named ? [...base.env, 'TERM=xterm'] : base.env,
    ...(size ? { consoleSize: { width: size.columns, height: size.rows } } : {}),
  }
}

async function firstSize(io: StreamIO): Promise<TerminalSize | undefined> {
  const size = Promise.withResolvers<TerminalSize>()
  io.onResize(size.resolve)
  return Promise.race([size.promise, sleep(SIZE_WAIT_MS, undefined)])
}

interface FollowOptions {
  id: string
  pidFile: string
  io: StreamIO
  signal: AbortSignal
}

/** Output flows only once the program runs: before that, what is written is runc's own complaint. */
async function follow(child: ExecProcess, { id, pidFile, io, signal }: FollowOptions): Promise<number> {
  const onAbort = (): void =>
    void endProgram(
      pidFile,
      child.ended.then(() => {}),
    ).then(child.kill)
  signal.addEventListener('abort', onAbort)
  if (signal.aborted) onAbort()
  try {
    if (!(await fileAppears(pidFile, child.ended))) {
      const reason = runcReason(await child.complaint()) || 'runc ended without an answer'
      throw new CriError('UNKNOWN', `failed to exec in container ${id}: ${reason}`)
    }
    const output = child.connect(io)
    const code = await child.ended
    await output
    return code
  } finally {
    signal.removeEventListener('abort', onAbort)
    child.release()
  }
}
