// What pod workers ask of probes.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'

export type ProbeKind = 'startup' | 'liveness' | 'readiness'

/** A probe's verdict after its thresholds; told only when it changes. */
export interface ProbeVerdict {
  podUid: string
  container: string
  containerId: string
  kind: ProbeKind
  success: boolean
}

/** One failed attempt, before thresholds: the source of `Unhealthy` events. */
export interface ProbeFailure extends Omit<ProbeVerdict, 'success'> {
  /** For instance `Liveness probe failed: HTTP probe failed with statuscode: 500`. */
  message: string
}

/** A running container to be probed. */
export interface ProbeTarget {
  pod: Pod
  container: Container
  /** CRI container ID. */
  containerId: string
  podIP: string
  /** Milliseconds since the epoch. */
  startedAt: number
}

/** Probes of the containers of this node. */
export interface Prober {
  /** Begins to probe; asking again for the same container ID changes nothing. Readiness and liveness wait for startup. */
  add(target: ProbeTarget): void
  /** Ends the probes of one container: those of these kinds, or all. */
  remove(containerId: string, kinds?: readonly ProbeKind[]): void
  /** Probes readiness at once, where it is time to probe it at all: the period begins anew. */
  hurry(containerId: string): void
  /** The verdict so far; undefined while the probe has none: then started and ready are false, live is true. */
  verdict(containerId: string, kind: ProbeKind): boolean | undefined
  close(): Promise<void>
}

/** A command in a container, as probes and hooks run it. */
export type ExecInContainer = (
  containerId: string,
  command: readonly string[],
  timeoutMs: number,
  signal?: AbortSignal,
) => Promise<{ exitCode: number; output: string }>
