// One container of a runner: a pod of its own around it.
import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ExecSyncResponse } from '@nodelet/cri-api'
import type { Runtime } from '../daemon.ts'
import { containerConfigOf, logName, sandboxConfigOf } from './config.ts'
import type { RunOptions } from './config.ts'
import { readOutput } from './output.ts'
import type { Output } from './output.ts'

/** Of each stream, in bytes. */
const outputLimit = 16 << 20

export interface RunResult extends Output {
  exitCode: number
}

/** How a container ended. */
export interface RunEnd {
  exitCode: number
  /** `Completed`, `Error`, `OOMKilled` or `Unknown`. */
  reason: string
}

/** A container that was started. Disposing removes it. */
export interface RunningContainer extends AsyncDisposable {
  /** The runtime's, for CRI calls. */
  readonly id: string
  /** Its address; empty when the network is the machine's. */
  readonly ip: string
  /** Fulfilled when it has ended; at once if it has. */
  wait(signal?: AbortSignal): Promise<RunEnd>
  /** What it has written so far, up to 16 MiB of each stream. */
  output(): Promise<Output>
  /** Runs one more command in it. */
  exec(command: readonly string[], options?: { timeoutMs?: number; signal?: AbortSignal }): Promise<RunResult>
  /** Sends the stop signal, and kills what is left after so long. Default: 10 s. */
  stop(graceMs?: number, signal?: AbortSignal): Promise<void>
}

/** Makes a container in a pod of its own and starts it; on failure nothing of it remains. */
export async function startContainer(
  runtime: Runtime,
  logs: string,
  { image, command, ...options }: RunOptions & { image: string; command: readonly string[] | undefined },
): Promise<RunningContainer> {
  const { runtimeService } = runtime
  const name = `run-${randomBytes(4).toString('hex')}`
  const folder = join(logs, name)
  await using undo = new AsyncDisposableStack()
  await mkdir(folder, { recursive: true })
  undo.defer(async () => rm(folder, { recursive: true, force: true }))
  const sandboxConfig = sandboxConfigOf(name, folder, options)
  const { podSandboxId } = await runtimeService.runPodSandbox({
    config: sandboxConfig,
    runtimeHandler: options.handler ?? '',
  })
  undo.defer(async () => void (await runtimeService.removePodSandbox({ podSandboxId })))
  const config = containerConfigOf(image, command, options)
  const { containerId } = await runtimeService.createContainer({ podSandboxId, config, sandboxConfig })
  await runtimeService.startContainer({ containerId })
  const { status } = await runtimeService.podSandboxStatus({ podSandboxId, verbose: false })
  const made = undo.move()
  return {
    id: containerId,
    ip: status?.network?.ip ?? '',
    wait: async (signal) => {
      const { exitCode = 255, reason = 'Unknown' } = await unlessAborted(runtime.wait(containerId), signal)
      return { exitCode, reason }
    },
    output: async () => readOutput(join(folder, logName), outputLimit),
    exec: async (cmd, { timeoutMs = 0, signal } = {}) => {
      const timeout = BigInt(Math.ceil(timeoutMs / 1000))
      const request = { containerId, cmd: [...cmd], timeout }
      return resultOf(await runtimeService.execSync(request, signal ? { signal } : {}))
    },
    stop: async (graceMs = 10_000, signal) => {
      const timeout = BigInt(Math.ceil(graceMs / 1000))
      await runtimeService.stopContainer({ containerId, timeout }, signal ? { signal } : {})
    },
    [Symbol.asyncDispose]: async () => made.disposeAsync(),
  }
}

const resultOf = ({ exitCode, stdout, stderr }: ExecSyncResponse): RunResult => ({
  exitCode,
  stdout: Buffer.from(stdout).toString(),
  stderr: Buffer.from(stderr).toString(),
})

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const abort = (): void => aborted.reject(signal.reason as Error)
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([work, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
