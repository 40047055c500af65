// How many volumes a node may have: drivers are asked again now and then, and when no more could be attached.
import type { CsiDrivers } from '@nodelet/csi-node'
import { csiDrivers, type Informer, type KubeClient, startInformer } from '@nodelet/kube-client'
import type { CSIDriver } from 'kubernetes-types/storage/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { CsiNodeKeeper } from './csi-node-keeper.ts'

export interface AllocatableOptions {
  /** For CSIDriver objects, which are watched once a driver is there. */
  client: Pick<KubeClient, 'list' | 'watch'>
  drivers: Pick<CsiDrivers, 'get'>
  keeper: Pick<CsiNodeKeeper, 'refresh'>
  clock: Clock
  log: Logger
}

export interface Allocatable extends AsyncDisposable {
  /** A driver is used. */
  came(driver: string): void
  /** It is not used any more. */
  gone(driver: string): void
  /** An attach failed for want of room: what the driver says now is told at once, unless it does not want to be asked. */
  exhausted(driver: string): void
}

interface Entry {
  /** Takes the next question back. */
  cancel(): void
  /** Milliseconds; undefined: it is not asked. */
  periodMs: number | undefined
  asking: Promise<void> | undefined
}

/** Field that is newer than the types; seconds. Left out: the driver is never asked again. */
type Spec = CSIDriver['spec'] & { nodeAllocatableUpdatePeriodSeconds?: number }

/** @returns undefined: the driver need not be asked again; milliseconds */
export function allocatablePeriodMs(driver: CSIDriver | undefined): number | undefined {
  const seconds = (driver?.spec as Spec | undefined)?.nodeAllocatableUpdatePeriodSeconds
  return seconds === undefined || seconds <= 0 ? undefined : seconds * 1000
}

/** `spec.nodeAllocatableUpdatePeriodSeconds` of CSIDriver objects. */
export function createAllocatable({ client, drivers, keeper, clock, log }: AllocatableOptions): Allocatable {
  const entries = new Map<string, Entry>()
  const closing = new AbortController()
  let informer: Informer<CSIDriver> | undefined

  const ask = async (name: string): Promise<void> => {
    try {
      const info = await drivers.get(name)?.nodeInfo(closing.signal)
      if (info && entries.has(name)) await keeper.refresh(name, info, closing.signal)
    } catch (error) {
      if (closing.signal.aborted) return
      log.warn({ err: error, driver: name }, 'how many volumes of a CSI driver this node may have is not known anew')
    }
  }
  const askNow = (name: string, entry: Entry): void => {
    entry.cancel()
    entry.asking ??= ask(name).finally(() => {
      entry.asking = undefined
      schedule(name, entry)
    })
  }
  const schedule = (name: string, entry: Entry): void => {
    entry.cancel()
    const { periodMs } = entry
    if (periodMs === undefined || closing.signal.aborted || entries.get(name) !== entry) return
    entry.cancel = clock.after(periodMs, () => askNow(name, entry))
  }
  const look = (name: string): void => {
    const entry = entries.get(name)
    const periodMs = allocatablePeriodMs(informer?.get({ name }))
    if (!entry || entry.periodMs === periodMs) return
    entry.periodMs = periodMs
    if (!entry.asking) schedule(name, entry)
  }
  const watch = (): void => {
    if (informer) return
    informer = startInformer(client, csiDrivers, {
      onError: (error) => log.warn({ err: error }, 'watching CSIDrivers'),
    })
    const changed = ({ metadata }: CSIDriver): void => look(metadata?.name ?? '')
    informer.subscribe({ added: changed, updated: changed, deleted: changed })
  }
  const forget = (name: string): void => {
    entries.get(name)?.cancel()
    entries.delete(name)
  }

  return {
    came(name) {
      if (closing.signal.aborted) return
      forget(name)
      entries.set(name, { cancel: () => {}, periodMs: undefined, asking: undefined })
      watch()
      look(name)
    },
    gone: forget,
    exhausted(name) {
      const entry = entries.get(name)
      if (entry?.periodMs !== undefined) askNow(name, entry)
    },
    async [Symbol.asyncDispose]() {
      closing.abort(new Error('the kubelet stops'))
      const asking = [...entries.values()].flatMap((entry) => entry.asking ?? [])
      for (const name of entries.keys()) forget(name)
      await informer?.stop()
      await Promise.all(asking)
    },
  }
}
