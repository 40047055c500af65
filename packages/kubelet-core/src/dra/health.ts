// How well the devices of one plugin are, as it tells.
import { type ChannelInterface, credentials, Metadata } from '@grpc/grpc-js'
import type { Clock } from '../clock.ts'
import { type DeviceHealth, DRAResourceHealthClient, HealthStatus } from '../gen/dra-health.ts'

export type Health = 'Healthy' | 'Unhealthy' | 'Unknown'

export interface PluginHealth extends Disposable {
  /** Unknown too when the plugin has not told of it for too long. */
  of(pool: string, device: string): Health
}

/** As a plugin lists it. */
export const healthService = 'v1alpha1.DRAResourceHealth'

/** How long a report holds that does not say so, in milliseconds. */
const defaultHoldsMs = 30_000
/** Between the end of a stream and the next one. */
const againMs = 5000

/** Follows the plugin until disposed of. @param changed the health of a device is another now */
export function followHealth(channel: ChannelInterface, changed: () => void, clock: Clock): PluginHealth {
  const client = new DRAResourceHealthClient('', credentials.createInsecure(), { channelOverride: channel })
  const reports = new Map<string, { health: Health; untilMs: number }>()
  let cancelExpiry: (() => void) | undefined
  /** Ends the stream, or the wait for the next one. */
  let cancelStream: (() => void) | undefined
  let closed = false

  const of = (pool: string, device: string): Health => reports.get(keyOf(pool, device))?.health ?? 'Unknown'
  const expire = (): void => {
    cancelExpiry?.()
    const nowMs = clock.now()
    let isLess = false
    for (const [key, { untilMs }] of reports) if (untilMs <= nowMs) isLess = reports.delete(key)
    if (isLess) changed()
    const firstMs = Math.min(...[...reports.values()].map(({ untilMs }) => untilMs))
    if (Number.isFinite(firstMs)) cancelExpiry = clock.after(firstMs - nowMs, expire)
  }
  const told = (devices: readonly DeviceHealth[]): void => {
    let isOther = false
    for (const { device, health, healthCheckTimeoutSeconds } of devices) {
      const { poolName = '', deviceName = '' } = device ?? {}
      const holdsMs = Number(healthCheckTimeoutSeconds) * 1000
      const before = of(poolName, deviceName)
      const report = { health: healthOf(health), untilMs: clock.now() + (holdsMs > 0 ? holdsMs : defaultHoldsMs) }
      reports.set(keyOf(poolName, deviceName), report)
      isOther ||= before !== report.health
    }
    if (isOther) changed()
    expire()
  }
  const follow = (): void => {
    const stream = client.nodeWatchResources({}, new Metadata({ waitForReady: true }))
    let isOver = false
    const end = (): void => {
      if (isOver || closed) return
      isOver = true
      const wasKnown = reports.size > 0
      reports.clear()
      if (wasKnown) changed()
      cancelStream = clock.after(againMs, follow)
    }
    stream.on('data', ({ devices }: { devices: DeviceHealth[] }) => {
      if (!isOver && !closed) told(devices)
    })
    stream.on('error', end)
    stream.on('end', end)
    cancelStream = () => stream.cancel()
  }
  follow()
  return {
    of,
    [Symbol.dispose]() {
      closed = true
      cancelStream?.()
      cancelExpiry?.()
    },
  }
}

const keyOf = (pool: string, device: string): string => `${pool}/${device}`

const healthOf = (health: HealthStatus): Health =>
  health === HealthStatus.HEALTHY ? 'Healthy' : health === HealthStatus.UNHEALTHY ? 'Unhealthy' : 'Unknown'
