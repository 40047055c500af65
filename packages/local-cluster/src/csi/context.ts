// What the controllers of CSI volumes share.
import { secrets } from '@nodelet/kube-client'
import type { KubeClient } from '@nodelet/kube-client'
import type { ControllerContext } from '../controllers/caches.ts'
import type { FindDriver } from './drivers.ts'
import type { ReadSecret } from './provision.ts'

export interface CsiContext extends ControllerContext {
  drivers: FindDriver
}

/** Secrets are read at each call: they change. @throws StatusError */
export const readSecretsOf =
  (client: KubeClient): ReadSecret =>
  async (reference) => {
    const { data = {} } = await client.get(secrets, reference)
    return Object.fromEntries(
      Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]),
    )
  }

/** Rejected calls are tried again by their queues; these end them when the cluster stops. */
export function untilStopped(): { signal: AbortSignal; stop(): void } {
  const stopping = new AbortController()
  return { signal: stopping.signal, stop: () => stopping.abort(new Error('the cluster stops')) }
}
