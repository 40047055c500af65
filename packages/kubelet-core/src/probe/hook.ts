// postStart and preStop.
import { setTimeout as sleep } from 'node:timers/promises'
import type { HTTPGetAction, LifecycleHandler } from 'kubernetes-types/core/v1.d.ts'
import { podName } from './attempt.ts'
import { dialError, isPlainAnswer } from './dial-error.ts'
import { get, httpTarget } from './http.ts'
import type { HttpTarget } from './http.ts'
import type { ExecInContainer, ProbeTarget } from './types.ts'

export interface HookOptions {
  exec: ExecInContainer
  /** Milliseconds that the hook may take; default: no end but `signal`. */
  timeoutMs?: number
  signal?: AbortSignal
  /** Is told the host and port of an HTTPS hook that was answered in plain HTTP, and then done by HTTP. */
  fellBack?: (host: string) => void
  /** Of the `User-Agent` header; default `kube-lifecycle/1.36`. */
  userAgent?: string
}

/** A hook that was not done in its time. */
export class HookTimeout extends Error {
  override readonly name = 'HookTimeout'
}

const usualAgent = 'kube-lifecycle/1.36'

/**
 * Runs a hook to its end.
 * @throws HookTimeout, or Error in upstream's words; the abort reason when aborted
 */
export async function runHook(handler: LifecycleHandler, target: ProbeTarget, options: HookOptions): Promise<void> {
  const { signal, timeoutMs } = options
  signal?.throwIfAborted()
  const signals = [signal, timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs)]
  const ended = AbortSignal.any(signals.filter((one) => one !== undefined))
  const { name, run } = hookOf(handler, target, options, ended)
  try {
    await run()
  } catch (cause) {
    signal?.throwIfAborted()
    const where = `Container "${target.container.name}" in Pod "${podName(target)}"`
    const told = (reason: string): string => `${name} for ${where} failed - error: ${reason}`
    if (ended.aborted) throw new HookTimeout(told(`not done after ${(timeoutMs ?? 0) / 1000}s`), { cause })
    throw new Error(told(cause instanceof Error ? cause.message : String(cause)), { cause })
  }
}

function hookOf(
  { exec, httpGet, sleep: pause, ...others }: LifecycleHandler,
  target: ProbeTarget,
  options: HookOptions,
  ended: AbortSignal,
): { name: string; run(): Promise<unknown> } {
  if (exec) {
    const { command = [] } = exec
    return {
      name: `Exec lifecycle hook ([${command.join(' ')}])`,
      run: () => execHook(command, target, options, ended),
    }
  }
  if (httpGet) {
    return { name: `HTTP lifecycle hook (${httpGet.path ?? ''})`, run: () => httpHook(httpGet, target, options, ended) }
  }
  if (pause) {
    const run = (): Promise<void> => sleep(pause.seconds * 1000, undefined, { signal: ended })
    return { name: `Sleep lifecycle hook (${pause.seconds})`, run }
  }
  throw new Error(`Cannot run handler: invalid handler: ${JSON.stringify(others)}`)
}

async function execHook(
  command: readonly string[],
  { containerId }: ProbeTarget,
  { exec, timeoutMs = 0 }: HookOptions,
  ended: AbortSignal,
): Promise<void> {
  const { exitCode, output } = await exec(containerId, command, timeoutMs, ended)
  if (exitCode !== 0) {
    throw new Error(`command '${command.join(' ')}' exited with ${exitCode}: , message: ${JSON.stringify(output)}`)
  }
}

async function httpHook(
  action: HTTPGetAction,
  target: ProbeTarget,
  { fellBack, userAgent = usualAgent }: HookOptions,
  ended: AbortSignal,
): Promise<void> {
  const request = httpTarget(action, target.container, target.podIP, userAgent)
  const { status } = await getOrFallBack(request, ended, fellBack)
  if (status >= 400) throw new Error(`${request.url.href} answered with status code ${status}`)
}

/** HTTPS to a server that speaks none is tried again as HTTP, without credentials. */
async function getOrFallBack(
  request: HttpTarget,
  ended: AbortSignal,
  fellBack?: (host: string) => void,
): Promise<{ status: number }> {
  try {
    return await get(request, { signal: ended })
  } catch (error) {
    if (request.url.protocol !== 'https:' || !isPlainAnswer(error)) {
      throw new Error(`Get "${request.url.href}": ${dialError(error, request.url.host)}`, { cause: error })
    }
    const { authorization: _, ...headers } = request.headers
    const answer = await get({ url: new URL(request.url.href.replace('https:', 'http:')), headers }, { signal: ended })
    fellBack?.(request.url.host)
    return answer
  }
}
