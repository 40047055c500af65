// What the kubelet's server asks of the rest of the kubelet.
import type { HealthCheck } from './health.ts'
import type { MetricsPage } from '../metrics/pages.ts'
import type { Summary } from '../stats/summary-types.ts'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'

/** Why something cannot be had: the kubelet's text and its HTTP status. */
export interface Refusal {
  error: string
  status: number
}

/** The pods of this node as the server sees them. */
export interface KubeletView {
  /** All that are bound here, static ones too, with their status. */
  pods(): readonly Pod[]
  /**
   * The container whose log or streams are asked for, chosen as the kubelet does: the running one, else the one that
   * ended last, or with `previous` the one before. A refusal is for instance
   * `container "c" in pod "p" is waiting to start: ContainerCreating`, status 400.
   */
  container(
    namespace: string,
    pod: string,
    container: string,
    previous?: boolean,
  ): { containerId: string; logPath: string } | Refusal
  /** The pod's ready sandbox, for port-forward. */
  sandbox(namespace: string, pod: string): { sandboxId: string } | Refusal
  /** A page of metrics as Prometheus' text. Left out: there are none. */
  metrics?(page: MetricsPage, signal: AbortSignal): Promise<string>
  /** What node and pods use. Left out: nobody measures. @param brief cpu and memory alone */
  summary?(brief: boolean, signal: AbortSignal): Promise<Summary>
  /** What the runtime runs, pods that nobody wants included. */
  runningPods?(signal: AbortSignal): Promise<readonly Pod[]>
  /** The configuration in force. */
  configz?(): unknown
  /** What it was started with: name → value. */
  flags?(): Readonly<Record<string, string>>
  /** How much the log tells, as the Go kubelet counts. Left out: that cannot be changed. */
  setVerbosity?(verbosity: number): void
  /** Writes a checkpoint of a running container. @returns where it is */
  checkpoint?(
    pod: Pod,
    container: string,
    containerId: string,
    timeoutSeconds: number,
    signal: AbortSignal,
  ): Promise<string>
  /** Left out: all is well. */
  health?(): readonly HealthCheck[]
  /** Fulfilled when the container no longer runs; at once if it does not. Rejects when the signal aborts. */
  ended(containerId: string, signal: AbortSignal): Promise<void>
}
