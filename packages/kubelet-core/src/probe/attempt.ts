// One attempt of a probe.
import type { Container, Probe } from 'kubernetes-types/core/v1.d.ts'
import { expand } from '../pod/environment.ts'
import { probeGrpc } from './grpc.ts'
import { httpTarget, probeHttp } from './http.ts'
import { resolvePort } from './port.ts'
import { probeTcp } from './tcp.ts'
import type { ExecInContainer, ProbeTarget } from './types.ts'

/**
 * How an attempt ended. A failure counts; an error (`unknown`) says nothing about the container and does not.
 * A warning counts as success.
 */
export interface Attempt {
  status: 'success' | 'warning' | 'failure' | 'unknown'
  message: string
}

export interface AttemptContext {
  exec: ExecInContainer
  timeoutMs: number
  /** For instance `kube-probe/1.36`. */
  userAgent: string
  signal: AbortSignal
}

const longestOutput = 10 * 1024
const execGraceMs = 1000

/** Never throws but when aborted. */
export async function attempt(probe: Probe, target: ProbeTarget, context: AttemptContext): Promise<Attempt> {
  try {
    return await run(probe, target, context)
  } catch (error) {
    context.signal.throwIfAborted()
    return { status: 'unknown', message: error instanceof Error ? error.message : String(error) }
  }
}

function run(probe: Probe, target: ProbeTarget, context: AttemptContext): Promise<Attempt> {
  const { container, podIP } = target
  if (probe.exec) return probeExec(probe.exec.command ?? [], target, context)
  if (probe.httpGet) return probeHttp(httpTarget(probe.httpGet, container, podIP, context.userAgent), context)
  if (probe.tcpSocket) {
    return probeTcp(probe.tcpSocket.host || podIP, resolvePort(probe.tcpSocket.port, container), context)
  }
  if (probe.grpc) return probeGrpc({ host: podIP, port: probe.grpc.port, service: probe.grpc.service ?? '' }, context)
  return Promise.reject(new Error(`missing probe handler for ${podName(target)}:${container.name}`))
}

/** As upstream names a pod: `NAME_NAMESPACE(UID)`. */
export function podName({ pod: { metadata } }: ProbeTarget): string {
  return `${metadata?.name}_${metadata?.namespace}(${metadata?.uid})`
}

async function probeExec(
  command: readonly string[],
  { container, containerId }: ProbeTarget,
  { exec, timeoutMs, signal }: AttemptContext,
): Promise<Attempt> {
  const late = AbortSignal.timeout(timeoutMs + execGraceMs)
  const expanded = expandCommand(command, container)
  try {
    const { exitCode, output } = await exec(containerId, expanded, timeoutMs, AbortSignal.any([signal, late]))
    return { status: exitCode === 0 ? 'success' : 'failure', message: output.slice(0, longestOutput) }
  } catch (error) {
    signal.throwIfAborted()
    if (!late.aborted && !isTimeout(error)) throw error
    const message = `command timed out: "${expanded.join(' ')}" timed out after ${timeoutMs / 1000}s`
    return { status: 'failure', message }
  }
}

/** Only values that stand in the spec itself are known to probes. */
function expandCommand(command: readonly string[], { env = [] }: Container): string[] {
  const values = new Map(env.map(({ name, value = '' }) => [name, value]))
  return command.map((word) => expand(word, values))
}

function isTimeout(error: unknown): boolean {
  return (
    error instanceof Error && (error.name === 'TimeoutError' || ('code' in error && error.code === 'DEADLINE_EXCEEDED'))
  )
}
