// ResourceSlices of drivers that are away: what they offer is not for the scheduler to give out.
import {
  defineResource,
  isNotFound,
  type KubeClient,
  type KubeObject,
  listAll,
  type Resource,
} from '@nodelet/kube-client'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import { untilDone } from '../retry.ts'

/** What matters here. @see resource.k8s.io/v1 ResourceSlice */
export interface ResourceSlice extends KubeObject {
  spec?: { nodeName?: string; driver?: string }
}

export const resourceSlices: Resource<ResourceSlice> = defineResource({
  group: 'resource.k8s.io',
  version: 'v1',
  plural: 'resourceslices',
  kind: 'ResourceSlice',
  namespaced: false,
})

export interface SliceKeeper extends AsyncDisposable {
  /** Drivers that have slices of before, and do not come back in time, lose them as well. */
  start(): void
  /** To be called whenever it may be another now whether the driver is there. */
  changed(driver: string): void
}

export interface SliceKeeperOptions {
  client: Pick<KubeClient, 'list' | 'deleteCollection'>
  nodeName: string
  /** How long a driver may be away, in milliseconds. */
  awayMs: number
  isThere(driver: string): boolean
  clock: Clock
  log: Logger
}

/** Between tries while the API server does not do it, in milliseconds. */
const [firstMs, longestMs] = [1000, 300_000]

export function createSliceKeeper(options: SliceKeeperOptions): SliceKeeper {
  const { client, nodeName, awayMs, isThere, clock, log } = options
  const closing = new AbortController()
  /** Drivers that are away → ends the wait, or the removal under way. */
  const away = new Map<string, AbortController>()
  const running = new Set<Promise<void>>()

  const retried = async <T>(what: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
    const onError = (error: unknown, again: number): void => log.warn({ err: error, again }, what)
    return untilDone(work, { firstMs, longestMs, clock, signal, onError })
  }
  const background = (work: () => Promise<void>, signal: AbortSignal): void => {
    const run = work()
      .catch((error: unknown) => {
        if (!signal.aborted) log.error({ err: error }, 'ResourceSlices')
      })
      .finally(() => running.delete(run))
    running.add(run)
  }
  const remove = async (driver: string, signal: AbortSignal): Promise<void> => {
    const fieldSelector = `spec.nodeName=${nodeName},spec.driver=${driver}`
    await retried('removing ResourceSlices', signal, async () =>
      client.deleteCollection(resourceSlices, { fieldSelector, signal }).catch(unlessServed),
    )
    log.info({ driver }, 'a DRA driver is away: its ResourceSlices are removed')
  }
  const changed = (driver: string): void => {
    if (closing.signal.aborted) return
    if (isThere(driver)) {
      away.get(driver)?.abort(new Error('the driver is back'))
      away.delete(driver)
    } else if (!away.has(driver)) {
      const back = new AbortController()
      const signal = AbortSignal.any([back.signal, closing.signal])
      const cancel = clock.after(awayMs, () => background(async () => remove(driver, signal), signal))
      signal.addEventListener('abort', cancel, { once: true })
      away.set(driver, back)
    }
  }
  return {
    start() {
      const { signal } = closing
      background(async () => {
        const fieldSelector = `spec.nodeName=${nodeName}`
        const slices = await retried('reading ResourceSlices', signal, async () =>
          listAll(client, resourceSlices, { fieldSelector, signal }).catch(unlessServed),
        )
        const drivers = new Set(slices?.items.flatMap(({ spec }) => spec?.driver ?? []))
        for (const driver of drivers) changed(driver)
      }, signal)
    },
    changed,
    async [Symbol.asyncDispose]() {
      closing.abort(new Error('the kubelet stops'))
      await Promise.all(running)
    },
  }
}

/** An API server that does not know ResourceSlices has none. */
function unlessServed(error: unknown): undefined {
  if (!isNotFound(error)) throw error
}
