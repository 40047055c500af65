// Whether a container counts as started and as ready.
import type { Container } from 'kubernetes-types/core/v1.d.ts'
import type { ProbeKind } from '../probe/types.ts'
import type { RuntimeContainer } from './runtime-pod.ts'

/** What is known of a container beside the runtime's word. */
export interface Liveliness {
  /** Undefined while the probe has no verdict. */
  verdict(containerId: string, kind: ProbeKind): boolean | undefined
  /** Its postStart hook has not returned. */
  hookRuns(containerId: string): boolean
  /** What was last published of this very container: it holds until a probe has its first verdict. */
  published?(containerId: string): { started?: boolean; ready?: boolean } | undefined
}

export function isStarted(container: Container, runtime: RuntimeContainer | undefined, facts: Liveliness): boolean {
  if (runtime?.phase !== 'running' || facts.hookRuns(runtime.id)) return false
  if (!container.startupProbe) return true
  return facts.verdict(runtime.id, 'startup') ?? facts.published?.(runtime.id)?.started ?? false
}

export function isReady(container: Container, runtime: RuntimeContainer | undefined, facts: Liveliness): boolean {
  if (!runtime || !isStarted(container, runtime, facts)) return false
  if (!container.readinessProbe) return true
  return facts.verdict(runtime.id, 'readiness') ?? facts.published?.(runtime.id)?.ready ?? false
}
