// What a KubeletConfiguration says of the kubelet's own process, and what its service manager is told.
import type { Clock } from '../clock.ts'
import type { KubeletConfiguration } from '../configuration/types.ts'
import type { Logger } from '../log.ts'
import type { HealthCheck } from '../server/health.ts'
import { limitProcess } from './limits.ts'
import { startWatchdog, tellManager, watchdogMs } from './watchdog.ts'

export interface OwnProcessOptions {
  configuration: KubeletConfiguration
  health(): readonly HealthCheck[]
  clock: Clock
  log: Logger
}

export interface OwnProcess extends Disposable {
  /** The kubelet runs: the service manager is told, now and again. */
  ready(): void
}

/** @throws RangeError when the service manager asks for what cannot be done */
export async function prepareProcess({ configuration, health, clock, log }: OwnProcessOptions): Promise<OwnProcess> {
  const { NOTIFY_SOCKET: socket } = process.env
  const ms = configuration.enableSystemdWatchdog === false ? undefined : watchdogMs(process.env, process.pid)
  await limitProcess(configuration, log)
  let watchdog: Disposable | undefined
  return {
    ready() {
      tellManager('READY=1', socket, log)
      if (ms !== undefined) watchdog = startWatchdog({ ms, health, socket, clock, log })
    },
    [Symbol.dispose]: () => watchdog?.[Symbol.dispose](),
  }
}
