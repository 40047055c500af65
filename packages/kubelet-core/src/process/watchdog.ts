// The service manager ends a kubelet that no longer says that all is well: systemd's `WatchdogSec`.
import { notifyService } from '@nodelet/linux'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { HealthCheck } from '../server/health.ts'

const shortestMs = 1000

/** Nothing depends on it here: a service manager that does not hear us acts by its own rules. */
export function tellManager(state: string, socket: string | undefined, log: Logger): void {
  try {
    notifyService(state, socket)
  } catch (error) {
    log.warn({ err: error, state }, 'telling the service manager')
  }
}

/**
 * How long the service manager waits to hear of this process, in milliseconds; undefined: it does not. Pure.
 * @throws RangeError naming a variable that is wrong, or a time under one second
 */
export function watchdogMs(variables: Readonly<Record<string, string | undefined>>, pid: number): number | undefined {
  const { WATCHDOG_USEC: time, WATCHDOG_PID: whose } = variables
  if (!time || (whose && Number(whose) !== pid)) return undefined
  const ms = Number(time) / 1000
  if (!(ms >= shortestMs)) throw new RangeError(`WATCHDOG_USEC ${JSON.stringify(time)}: must be at least 1000000`)
  return ms
}

export interface WatchdogOptions {
  /** Of the service manager: it is told twice in that time. */
  ms: number
  health(): readonly HealthCheck[]
  socket: string | undefined
  clock: Clock
  log: Logger
}

/** Says `WATCHDOG=1` while the health checks pass, until it is disposed of. */
export function startWatchdog({ ms, health, socket, clock, log }: WatchdogOptions): Disposable {
  let cancel: () => void
  const turn = (): void => {
    cancel = clock.after(ms / 2, turn)
    const ill = health().filter(({ problem }) => problem !== undefined)
    if (ill.length > 0) {
      log.error({ checks: ill }, 'not healthy: the service manager hears nothing')
      return
    }
    tellManager('WATCHDOG=1', socket, log)
  }
  turn()
  return { [Symbol.dispose]: () => cancel() }
}
