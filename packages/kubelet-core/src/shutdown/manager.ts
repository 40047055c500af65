// Ends pods in order when the machine shuts down, while the shutdown waits.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import type { PodFailure } from '../pod/worker.ts'
import type { Inhibitor, Logind } from './logind.ts'
import { planShutdown, type ShutdownGroup } from './plan.ts'

export interface ShutdownOptions {
  rootDir: string
  /** None: shutdowns are not waited for. */
  groups: readonly ShutdownGroup[]
  logind: Logind
  /** Pods that run or are to run. */
  pods(): readonly Pod[]
  /** Ends a pod; fulfilled when nothing of it is left. */
  end(pod: Pod, failure: PodFailure, graceSeconds: number): Promise<void>
  /** A shutdown has begun, or was called off: the node's condition is another. */
  changed(): void
  /** Pods are ended since then, and had all ended then; in milliseconds since the epoch. */
  ending?(startMs: number, endMs: number | undefined): void
  events: Pick<EventRecorder, 'recordNode'>
  clock: Clock
  log: Logger
}

export interface ShutdownManager {
  start(): void
  readonly shuttingDown: boolean
  close(): Promise<void>
}

const message = 'Pod was terminated in response to imminent node shutdown.'
const failure: PodFailure = { reason: 'Terminated', message, disruption: message }
/** How long to wait before logind is asked again. */
const retryMs = 5000
const rereadMs = 100

export function createShutdownManager(options: ShutdownOptions): ShutdownManager {
  const { rootDir, groups, logind, events, clock, log } = options
  const closing = new AbortController()
  let shuttingDown = false
  let inhibitor: Inhibitor | undefined
  let running: Promise<void> | undefined

  const remember = async (startTime: number, endTime: number | undefined): Promise<void> => {
    options.ending?.(startTime, endTime)
    const time = (ms: number | undefined): string | undefined =>
      ms === undefined ? undefined : new Date(ms).toISOString()
    const state = { startTime: time(startTime), endTime: time(endTime) }
    await writeFile(join(rootDir, 'graceful_node_shutdown_state'), JSON.stringify(state))
  }

  const endPods = async (): Promise<void> => {
    const startMs = clock.now()
    events.recordNode({ type: 'Normal', reason: 'Shutdown', message: 'Shutdown manager detected shutdown event' })
    await remember(startMs, undefined)
    for (const { seconds, pods } of planShutdown(groups, options.pods())) {
      log.info({ pods: pods.length, seconds }, 'the machine shuts down: pods end')
      const ends = pods.map(async ({ pod, graceSeconds }) => options.end(pod, failure, graceSeconds))
      const late = Promise.withResolvers<void>()
      const cancel = clock.after(seconds * 1000, late.resolve)
      await Promise.race([Promise.allSettled(ends), late.promise])
      cancel()
    }
    await remember(startMs, clock.now())
  }

  const pause = async (ms: number): Promise<void> => {
    const waited = Promise.withResolvers<void>()
    const cancel = clock.after(ms, waited.resolve)
    closing.signal.addEventListener('abort', () => waited.resolve(), { once: true })
    await waited.promise
    cancel()
  }

  const follow = async (): Promise<void> => {
    inhibitor ??= await logind.inhibit()
    await checkDelay()
    for await (const begins of logind.shutdowns(closing.signal)) {
      shuttingDown = begins
      options.changed()
      if (begins) {
        await endPods()
        await inhibitor?.release()
        inhibitor = undefined
      } else inhibitor ??= await logind.inhibit()
    }
  }

  const checkDelay = async (): Promise<void> => {
    const wantedMs = groups.reduce((sum, { seconds }) => sum + seconds, 0) * 1000
    let delayMs = await logind.longestDelayMs(closing.signal)
    if (delayMs >= wantedMs) return
    try {
      await logind.raiseDelay(wantedMs, closing.signal)
    } catch (error) {
      closing.signal.throwIfAborted()
      log.warn({ err: error }, 'shutdowns of this machine could not be made to wait longer')
    }
    // logind reads its configuration in its own time.
    for (let tries = 20; delayMs < wantedMs && tries > 0; tries--) {
      await pause(rereadMs)
      delayMs = await logind.longestDelayMs(closing.signal)
    }
    if (delayMs >= wantedMs) return
    const advice = `set InhibitDelayMaxSec=${Math.ceil(wantedMs / 1000)} in /etc/systemd/logind.conf.d/99-kubelet.conf`
    log.warn({ delayMs, wantedMs }, `a shutdown waits less than the pods may take: ${advice}`)
  }

  const run = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      try {
        await follow()
      } catch (error) {
        if (closing.signal.aborted) return
        log.warn({ err: error }, 'shutdowns of this machine are not known of; asking again')
      }
      await pause(retryMs)
    }
  }

  return {
    start() {
      if (groups.length > 0) running ??= run()
    },
    get shuttingDown() {
      return shuttingDown
    },
    async close() {
      closing.abort(new Error('the kubelet stops'))
      await running
      await inhibitor?.release()
    },
  }
}
