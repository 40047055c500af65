// The life of one pod: a mailbox of one letter and serial turns. Syncing, then terminating, then terminated; never back.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'

export type WorkerPhase = 'syncing' | 'terminating' | 'terminated'

/** Why a pod ends. */
export interface EndRequest {
  /** Overrides the pod's own grace, in seconds; a later request can only shorten. */
  graceSeconds?: number
  failure?: PodFailure
}

/** Makes a pod Failed, with reason and message. */
export interface PodFailure {
  reason: string
  message: string
  /** What the condition `DisruptionTarget` says; undefined: no such condition. */
  disruption?: string
}

/** What a worker does in its phases. Each turn may be aborted by its signal and is then done again. */
export interface PodTurns {
  /** @returns when to look again, and whether the pod has come to its end by itself */
  sync(pod: Pod, signal: AbortSignal): Promise<{ againMs?: number | undefined; ended?: boolean }>
  /** Returns when nothing runs any more. */
  terminate(pod: Pod, request: EndRequest, signal: AbortSignal): Promise<void>
  /** Gives back what the pod had. */
  terminated(pod: Pod, signal: AbortSignal): Promise<void>
  /** Tells the API server that it has ended, which may take as long as that does not answer. */
  told(pod: Pod, signal: AbortSignal): Promise<void>
}

export interface PodWorker {
  readonly phase: WorkerPhase
  readonly pod: Pod
  /** The newest desired state; it wins over any before. */
  update(pod: Pod): void
  /** Something may have changed. */
  wake(): void
  terminate(request: EndRequest): void
  /** Fulfilled once terminated, whether the API server knows it or not. */
  readonly finished: Promise<void>
  /** Takes no more turns; the pod stays as it is. Fulfilled when the turn under way has ended. */
  close(): Promise<void>
}

export interface WorkerOptions {
  clock: Clock
  log: Logger
  /** The pod is to end from the first: no sync turn is taken. */
  end?: EndRequest | undefined
  /** How long to wait after a failed turn. */
  retryMs?: (error: unknown, failures: number) => number
}

const defaultRetry = (_error: unknown, failures: number): number =>
  Math.min(10_000, 500 * 2 ** Math.min(failures - 1, 5)) * (1 + Math.random() / 2)

export function createPodWorker(first: Pod, turns: PodTurns, options: WorkerOptions): PodWorker {
  const { clock, log, retryMs = defaultRetry } = options
  const closing = new AbortController()
  const finished = Promise.withResolvers<void>()
  let phase: WorkerPhase = 'syncing'
  let pod = first
  let request = options.end
  let dirty = true
  /** Terminated, and nothing new was heard since. */
  let settled = false
  let failures = 0
  let turn: AbortController | undefined
  let running: Promise<void> | undefined
  let cancelTimer: (() => void) | undefined

  const takeTurn = async (signal: AbortSignal): Promise<number | undefined> => {
    if (request && phase === 'syncing') phase = 'terminating'
    if (phase === 'syncing') {
      const { againMs, ended } = await turns.sync(pod, signal)
      if (!ended) return againMs
      request ??= {}
      phase = 'terminating'
    }
    if (phase === 'terminating') {
      await turns.terminate(pod, request ?? {}, signal)
      phase = 'terminated'
    }
    settled = true // an update in the meantime makes it false again
    try {
      await turns.terminated(pod, signal)
      finished.resolve()
      await turns.told(pod, signal)
    } catch (error) {
      settled = false
      throw error
    }
    return undefined
  }

  const run = async (): Promise<void> => {
    while (dirty && !closing.signal.aborted) {
      dirty = false
      cancelTimer?.()
      if (settled) break
      turn = new AbortController()
      let againMs: number | undefined
      try {
        againMs = await takeTurn(AbortSignal.any([turn.signal, closing.signal]))
        failures = 0
      } catch (error) {
        if (turn.signal.aborted || closing.signal.aborted) continue
        failures++
        const ms = retryMs(error, failures)
        againMs = clock.now() + ms
        log.warn(
          { err: error, pod: pod.metadata?.name, namespace: pod.metadata?.namespace, phase, again: ms },
          'pod turn failed',
        )
      }
      if (againMs !== undefined && !dirty) cancelTimer = clock.after(againMs - clock.now(), wake)
    }
  }

  const start = (): void => {
    if (running || closing.signal.aborted) return
    running = run().finally(() => {
      running = undefined
      if (dirty) start()
    })
  }
  const wake = (): void => {
    dirty = true
    start()
  }
  const over = (): boolean => phase === 'terminated'

  const worker: PodWorker = {
    get phase() {
      return phase
    },
    get pod() {
      return pod
    },
    update(newest) {
      pod = newest
      settled = false
      wake()
    },
    wake,
    terminate(wanted) {
      const grace = Math.min(request?.graceSeconds ?? Infinity, wanted.graceSeconds ?? Infinity)
      const shorter = request !== undefined && grace < (request.graceSeconds ?? Infinity)
      const failure = request?.failure ?? wanted.failure
      const isNew = request === undefined
      request = { ...(Number.isFinite(grace) && { graceSeconds: grace }), ...(failure && { failure }) }
      if (over() || !(isNew || shorter)) return
      turn?.abort(new Error('the pod is to end'))
      wake()
    },
    finished: finished.promise,
    async close() {
      closing.abort(new Error('the kubelet stops'))
      cancelTimer?.()
      await running
    },
  }
  wake()
  return worker
}
