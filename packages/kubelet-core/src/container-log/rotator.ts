// Looks after the logs of all running containers: those that have grown too large are rotated.
import { stat } from 'node:fs/promises'
import type { RuntimeService } from '@nodelet/cri-api'
import type { Clock } from '../clock.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { parseDuration } from '../duration.ts'
import type { Logger } from '../log.ts'
import { type Period, startPeriod } from '../node/period.ts'
import { parseQuantity } from '../quantity.ts'
import { rotateLog } from './rotate.ts'

export interface LogRotatorOptions {
  runtime: Pick<RuntimeService, 'reopenContainerLog'>
  /** The containers that run, and where their logs are. */
  running(): Iterable<{ id: string; logPath: string }>
  configuration: Pick<
    KubeletConfiguration,
    'containerLogMaxSize' | 'containerLogMaxFiles' | 'containerLogMaxWorkers' | 'containerLogMonitorInterval'
  >
  clock: Clock
  log: Logger
}

/** Looks with the first {@link Period.now}, then each `containerLogMonitorInterval`. A size of zero or less: no rotation. */
export function createLogRotator({ runtime, running, configuration, clock, log }: LogRotatorOptions): Period {
  const maxBytes = Number(parseQuantity(configuration.containerLogMaxSize, 'containerLogMaxSize'))
  const maxFiles = configuration.containerLogMaxFiles

  const look = async (id: string, path: string, signal: AbortSignal): Promise<void> => {
    const reopen = async (): Promise<void> => void (await runtime.reopenContainerLog({ containerId: id }, { signal }))
    const size = await sizeOf(path)
    // A file that is gone: the container writes to one that nobody can open.
    if (size === undefined) return reopen()
    if (size > maxBytes) await rotateLog(path, { maxFiles, nowMs: clock.now(), reopen, signal })
  }
  /** Takes from what is left until nothing is. */
  const work = async (left: Iterator<{ id: string; logPath: string }>, signal: AbortSignal): Promise<void> => {
    for (let next = left.next(); !next.done && !signal.aborted; next = left.next()) {
      const { id, logPath } = next.value
      try {
        await look(id, logPath, signal)
      } catch (error) {
        if (!signal.aborted) log.warn({ err: error, container: id, path: logPath }, 'a log could not be rotated')
      }
    }
  }
  return startPeriod({
    ms: parseDuration(configuration.containerLogMonitorInterval),
    clock,
    onError: (error) => log.warn({ err: error }, 'looking after logs'),
    async run(signal) {
      if (maxBytes <= 0) return
      const left = [...running()].filter(({ logPath }) => logPath !== '').values()
      await Promise.all(Array.from({ length: configuration.containerLogMaxWorkers }, async () => work(left, signal)))
    },
  })
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
