// Leases of pods: got, kept for as long as their pods are there, and given back. Used by the daemon and in process.
import { setTimeout as sleep } from 'node:timers/promises'
import { LinuxError, openNetlink } from '@nodelet/linux'
import type { Link, NetworkChange } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { createLines } from '../../libcni/lines.ts'
import type { AttachmentKey, CniLog } from '../../types.ts'
import { clientId } from './client.ts'
import type { Client } from './client.ts'
import { nextStep, retryDelayMs } from './lease.ts'
import type { Failures, Lease } from './lease.ts'
import { openRecords } from './records.ts'
import { acquire, bringUp, findLink, giveBack, macBytes, prolong, RefusedError } from './wire.ts'
import type { PodLink } from './wire.ts'

export interface LeaseKey extends AttachmentKey {
  /** The network's name. */
  network: string
}

export interface LeaseRequest extends LeaseKey {
  netns: string
  /** Options to tell servers. */
  provide: readonly { code: number; value: string }[]
  /** Numbers of options to ask servers for. */
  request: readonly number[]
}

/** What both the holder of leases and the way to the daemon can do. */
export interface LeaseHolder {
  /** Gets a lease, or says again what is held already. @throws CniError when no server gives one */
  allocate(request: LeaseRequest, signal: AbortSignal): Promise<Lease>
  /** Gives the lease back; fine when there is none. */
  release(key: LeaseKey, signal: AbortSignal): Promise<void>
  /** Gives back those of the network that belong to none of these. */
  releaseOthers(network: string, valid: readonly AttachmentKey[], signal: AbortSignal): Promise<void>
}

export interface LeasesOptions {
  /** Folder where leases are written down, so that the next life of the holder keeps them. */
  folder: string
  log: CniLog
  /** Where paths of namespaces begin; default: at the root. */
  hostPrefix?: string
  /** Whether servers are to answer to all; default false. */
  broadcast?: boolean
  /** For each answer, in milliseconds; default 10 s. */
  timeoutMs?: number
  /** The longest time between tries, in milliseconds; default 62 s. */
  resendMaxMs?: number
  /** How long a lease is tried to be got, in milliseconds; default 208 s. */
  resendTimeoutMs?: number
}

export const leaseDefaults = { timeoutMs: 10_000, resendMaxMs: 62_000, resendTimeoutMs: 208_000 }

/** A lease as it is written down. */
export interface HeldLease {
  request: LeaseRequest
  /** The index of its link. */
  link: number
  lease: Lease
}

interface Kept {
  held: HeldLease
  /** Ends the keeping. */
  end(): Promise<void>
}

const nameOf = ({ containerId, network, ifName }: LeaseKey): string => `${containerId}/${network}/${ifName}`
/** Of a file of a namespace that is not there, or is no namespace any more. */
const goneCodes = ['ENOENT', 'EINVAL']
/** Timers of Node hold no more. */
const longestSleepMs = 2 ** 31 - 1

/** Leases stay at servers when it is disposed: the pods are still there. */
export function openLeases(options: LeasesOptions): LeaseHolder & AsyncDisposable {
  const { folder, log, hostPrefix = '', broadcast = false, ...times } = options
  const { timeoutMs, resendMaxMs, resendTimeoutMs } = { ...leaseDefaults, ...times }
  const records = openRecords(folder, log)
  const kept = new Map<string, Kept>()
  const lines = createLines()
  const delayMs = (failures: number): number => retryDelayMs(failures, resendMaxMs, Math.random())
  const netnsOf = ({ netns }: LeaseRequest): string => `${hostPrefix}${netns}`
  /** Undefined when it is gone, be it with its namespace. @throws LinuxError when that cannot be said */
  const linkOf = async ({ request, link }: HeldLease): Promise<PodLink | undefined> => {
    try {
      const found = await findLink(netnsOf(request), request.ifName)
      return found.index === link ? found : undefined
    } catch (error) {
      const isGone = error instanceof CniError || (error instanceof LinuxError && goneCodes.includes(error.code))
      if (isGone) return undefined
      throw error
    }
  }
  const clientOf = (request: LeaseRequest, { mac }: PodLink): Client => {
    const provide = new Map(request.provide.map(({ code, value }) => [code, Buffer.from(value)]))
    return { mac: macBytes(mac), id: clientId(nameOf(request)), provide, request: request.request, broadcast }
  }

  const get = async (request: LeaseRequest, signal: AbortSignal): Promise<HeldLease> => {
    const link = await findLink(netnsOf(request), request.ifName)
    await bringUp(link, signal)
    const untilMs = Date.now() + resendTimeoutMs
    for (let failures = 1; ; failures += 1) {
      try {
        const lease = await acquire(link, clientOf(request, link), { timeoutMs, signal })
        return { request, link: link.index, lease }
      } catch (error) {
        signal.throwIfAborted()
        const pause = delayMs(failures)
        if (Date.now() + pause >= untilMs) {
          const message = `no DHCP lease for ${request.ifName}: ${(error as Error).message}`
          throw new CniError(cniCode.tryAgain, message, { cause: error })
        }
        await sleep(pause, undefined, { signal })
      }
    }
  }

  /** Until the lease or its link is gone. */
  const keep = async (one: HeldLease, signal: AbortSignal): Promise<void> => {
    const { request } = one
    let failures: Failures | undefined
    for (;;) {
      const step = nextStep(one.lease, Date.now(), failures, delayMs)
      if (step.kind === 'keep') await sleepUntil(Infinity, signal)
      else if (step.kind === 'wait') await sleepUntil(step.untilMs, signal)
      else if (step.kind === 'expire') return takeDown(one, 'the DHCP lease is over, its link goes down')
      else {
        const patience = { timeoutMs: Math.min(timeoutMs, Math.max(1, step.untilMs - Date.now())), signal }
        try {
          const link = await linkOf(one)
          if (!link) return
          const how = { lease: one.lease, anybody: step.kind === 'rebind' }
          one.lease = await prolong(link, clientOf(request, link), how, patience)
          failures = undefined
          await records.save(nameOf(request), one)
        } catch (error) {
          signal.throwIfAborted()
          log.warn({ ...shown(one), err: error as Error }, 'a DHCP lease is not prolonged')
          if (error instanceof RefusedError) return takeDown(one, 'the DHCP lease is refused, its link goes down')
          failures = { count: (failures?.count ?? 0) + 1, lastMs: Date.now() }
        }
      }
    }
  }
  const takeDown = async (one: HeldLease, message: string): Promise<void> => {
    log.warn(shown(one), message)
    const link = await linkOf(one)
    if (!link) return
    using netlink = openNetlink({ netns: link.netns })
    await netlink.links.set(link.index, { up: false })
  }

  const start = (one: HeldLease): void => {
    const name = nameOf(one.request)
    const ended = new AbortController()
    const done = whileLink(netnsOf(one.request), one.link, ended.signal, async (signal) => keep(one, signal))
    const end = async (): Promise<void> => {
      ended.abort()
      // That it was ended; of any other end the log is told below.
      await done.catch(() => undefined)
    }
    const own = { held: one, end }
    kept.set(name, own)
    const forget = async (): Promise<void> => {
      if (kept.get(name) !== own) return
      kept.delete(name)
      await records.remove(name)
    }
    done
      .then(async () => lines(name, forget))
      .catch((error: unknown) => {
        if (!ended.signal.aborted) log.warn({ ...shown(one), err: error as Error }, 'a DHCP lease is not kept')
      })
  }

  const release = async (key: LeaseKey): Promise<void> => {
    const name = nameOf(key)
    const one = kept.get(name)
    if (!one) return
    await one.end()
    const link = await linkOf(one.held)
    // Without its link there is no way to say so: the server hears nothing more, and takes the address back in time.
    if (link) {
      await giveBack(link, clientOf(one.held.request, link), one.held.lease).catch((error: Error) =>
        log.warn({ ...shown(one.held), err: error }, 'a DHCP lease is not given back'),
      )
    }
    await records.remove(name)
    // What failed before is asked for again, and finds it.
    kept.delete(name)
  }

  const isThere = async (one: HeldLease): Promise<boolean> => {
    try {
      return (await linkOf(one)) !== undefined
    } catch (error) {
      log.warn(
        { ...shown(one), err: String(error) },
        'the link of a DHCP lease cannot be looked for: the lease is held',
      )
      return true
    }
  }
  const resumed = records.all().then(async (all) => {
    for (const one of all) {
      if (await isThere(one)) start(one)
      else await records.remove(nameOf(one.request))
    }
  })
  // Whoever asks for a lease awaits it too, and hears why the records cannot be read.
  resumed.catch(() => undefined)
  const inLine = async <T>(key: LeaseKey, work: () => Promise<T>): Promise<T> => {
    await resumed
    return lines(nameOf(key), work)
  }

  return {
    allocate: async (request, signal) =>
      inLine(request, async () => {
        const before = kept.get(nameOf(request))
        if (before) return before.held.lease
        const one = await get(request, signal)
        await records.save(nameOf(request), one)
        start(one)
        return one.lease
      }),
    release: async (key) => inLine(key, async () => release(key)),
    releaseOthers: async (network, valid) => {
      await resumed
      const names = new Set(valid.map((key) => nameOf({ ...key, network })))
      const stale = [...kept.values()].map(({ held }) => held.request)
      for (const key of stale) {
        if (key.network === network && !names.has(nameOf(key))) await inLine(key, async () => release(key))
      }
    },
    [Symbol.asyncDispose]: async () => {
      await resumed
      const all = [...kept.values()]
      kept.clear()
      await Promise.all(all.map(async ({ end }) => end()))
    },
  }
}

const shown = ({ request: { network, containerId, ifName }, lease: { address } }: HeldLease): object => ({
  network,
  containerId,
  ifName,
  address,
})

/** By the clock, which may be set meanwhile. Does not hold up the end of the process. */
async function sleepUntil(untilMs: number, signal: AbortSignal): Promise<void> {
  const left = Math.max(0, untilMs - Date.now())
  await sleep(Math.min(left, longestSleepMs), undefined, { signal, ref: false })
}

/** Does work that ends, as if it were over, when the link goes away. @throws what the work throws */
async function whileLink(
  netns: string,
  index: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const over = new AbortController()
  const gone = new AbortController()
  const watched = AbortSignal.any([signal, over.signal])
  const watching = untilGone(netns, index, watched).then(() => watched.aborted || gone.abort())
  // Without it nothing is lost: the link is looked at again when the lease is prolonged.
  watching.catch(() => undefined)
  try {
    await work(AbortSignal.any([signal, gone.signal]))
  } catch (error) {
    if (!gone.signal.aborted) throw error
  } finally {
    over.abort()
  }
}

async function untilGone(netns: string, index: number, signal: AbortSignal): Promise<void> {
  const changes = await changesOf(netns, index, signal)
  for await (const { type, value } of changes ?? []) if (type === 'deleted' && value.index === index) return
}

/** Undefined when the link is gone already. */
async function changesOf(
  netns: string,
  index: number,
  signal: AbortSignal,
): Promise<AsyncIterable<NetworkChange<Link>> | undefined> {
  using netlink = openNetlink({ netns })
  const changes = netlink.watch.links(signal)
  return (await netlink.links.get(index)) ? changes : undefined
}
