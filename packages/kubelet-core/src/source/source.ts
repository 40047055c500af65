import type { Pod } from 'kubernetes-types/core/v1.d.ts'

/** Where pods come from. Each set is complete: what it does not have is wanted no more. */
export interface PodSource {
  readonly name: 'file' | 'http' | 'api'
  /** Begins; calls back with the first set, even an empty one, and with each that differs. */
  start(changed: (pods: readonly Pod[]) => void): Promise<void>
  close(): Promise<void>
}
