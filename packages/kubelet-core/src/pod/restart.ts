// Whether a container runs again after it ended, and when: restart policy, rules and the crash-loop back-off.
import { createHash } from 'node:crypto'
import type { Container } from 'kubernetes-types/core/v1.d.ts'

export type RestartPolicy = 'Always' | 'OnFailure' | 'Never'

/** One of a container's `restartPolicyRules`; the first that matches decides. */
export interface RestartRule {
  action: 'Restart' | 'RestartAllContainers'
  exitCodes?: { operator: 'In' | 'NotIn'; values?: number[] }
}

/** The fields of newer API servers that override the pod's restart policy. */
export type RestartableContainer = Container & { restartPolicy?: string; restartPolicyRules?: RestartRule[] }

/** Whether a container of this pod that ended with `exitCode` may run again, while the pod itself stays wanted. */
export function mayRestart(container: RestartableContainer, podPolicy: RestartPolicy, exitCode: number): boolean {
  const rules = container.restartPolicyRules ?? []
  if (rules.some((rule) => ruleMatches(rule, exitCode))) return true
  const policy = container.restartPolicy ?? podPolicy
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0)
}

/** Whether the first rule that matches asks for all containers of the pod to be restarted. */
export function restartsAll({ restartPolicyRules: rules = [] }: RestartableContainer, exitCode: number): boolean {
  return rules.find((rule) => ruleMatches(rule, exitCode))?.action === 'RestartAllContainers'
}

function ruleMatches({ exitCodes }: RestartRule, exitCode: number): boolean {
  if (!exitCodes) return false
  return (exitCodes.values ?? []).includes(exitCode) === (exitCodes.operator === 'In')
}

/** A container with another image or other resources begins anew. */
export function backOffKey({ name, image = '', resources = {} }: Container): string {
  const { requests = {}, limits = {} } = resources
  const amounts = [requests, limits].map((all) => Object.entries(all).toSorted(([a], [b]) => (a < b ? -1 : 1)))
  const print = createHash('sha256').update(JSON.stringify([image, amounts]))
  return `${name}/${print.digest('hex').slice(0, 16)}`
}

/** What is remembered of one container's restarts; plain data, so that it can be journalled. */
export interface BackOff {
  delayMs: number
  updatedMs: number
}

export interface BackOffLimits {
  /** The first delay, in milliseconds; default 10 s. */
  initialMs?: number
  /** The longest delay, in milliseconds; default 300 s. */
  maxMs?: number
}

export type RestartDecision =
  | { kind: 'start'; backOff: BackOff }
  /** Wait until `untilMs`; `delayMs` is what the waiting message tells. */
  | { kind: 'wait'; untilMs: number; delayMs: number }

/**
 * Decides whether an ended container starts again now: at once after the first exit, then 10, 20, 40 … 300 s after each
 * exit. The sequence starts anew when the container had run for twice the longest delay.
 */
export function decideRestart(
  previous: BackOff | undefined,
  finishedMs: number,
  nowMs: number,
  { initialMs = 10_000, maxMs = 300_000 }: BackOffLimits = {},
): RestartDecision {
  const first = Math.min(initialMs, maxMs)
  const expired = previous && finishedMs - previous.updatedMs > 2 * maxMs
  if (!previous || expired) return { kind: 'start', backOff: { delayMs: first, updatedMs: nowMs } }
  const untilMs = finishedMs + previous.delayMs
  if (nowMs < untilMs) return { kind: 'wait', untilMs, delayMs: previous.delayMs }
  return { kind: 'start', backOff: { delayMs: Math.min(previous.delayMs * 2, maxMs), updatedMs: nowMs } }
}

/** The message of a container that waits with reason `CrashLoopBackOff`. */
export function crashLoopMessage(
  container: string,
  pod: { name: string; namespace: string; uid: string },
  delayMs: number,
): string {
  return `back-off ${goDuration(delayMs)} restarting failed container=${container} pod=${pod.name}_${pod.namespace}(${pod.uid})`
}

/** Whole seconds as Go prints a duration: `10s`, `2m40s`, `5m0s`. */
function goDuration(ms: number): string {
  const seconds = Math.round(ms / 1000)
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`
}
