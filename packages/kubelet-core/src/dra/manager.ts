// ResourceClaims of pods: prepared by their drivers before a pod starts, unprepared when its last pod has ended.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { DeviceHealth } from '../device/manager.ts'
import type { Logger } from '../log.ts'
import { createTurns } from '../serial.ts'
import { containersOf } from '../topology/share.ts'
import { readClaims, writeClaims } from './checkpoint.ts'
import { neededClaims, type ResourceClaim, usableClaim } from './claim.ts'
import { cdiIdsOf, claimsOfContainer, type ContainerClaim, healthOfContainer } from './devices.ts'
import type { DriverPlugin, Outcomes } from './driver.ts'
import type { Drivers } from './drivers.ts'
import {
  type ClaimDevice,
  type ClaimInfo,
  type ClaimPlan,
  type ClaimRef,
  claimsOf,
  keyOf,
  planPrepare,
  planUnprepare,
  withPrepared,
} from './state.ts'

export interface ClaimManager {
  /**
   * Prepares what the pod's claims were given; what is prepared already is left alone.
   * @throws Error why it cannot be done, of the pod, a claim or a driver; the signal's reason
   */
  prepare(pod: Pod, signal: AbortSignal): Promise<void>
  /** The pod's containers have ended. @throws Error of a driver; the signal's reason */
  unprepare(podUid: string, signal: AbortSignal): Promise<void>
  /** Whether something of the pod is prepared, or may be. */
  has(podUid: string): boolean
  /** Unprepares what is left of pods that are not known any more. What fails is told to the log, and left for the next time. */
  releaseGone(known: ReadonlySet<string>, signal: AbortSignal): Promise<void>
  /** CDI names of what the container uses. @throws Error naming a claim that is not prepared */
  cdiIds(pod: Pod, container: Container): string[]
  /** What the container uses, as far as it is prepared. */
  claimsOf(pod: Pod, container: Container): ContainerClaim[]
  /** Of what the container uses: see {@link healthOfContainer}. */
  health(pod: Pod, container: string): ReadonlyMap<string, DeviceHealth[]>
  /** Pods that use devices of this driver. */
  podsOf(driver: string): ReadonlySet<string>
}

export interface ClaimManagerOptions {
  /** Of `dra_manager_state`. */
  path: string
  /** @throws StatusError, ConnectionError */
  read(namespace: string, name: string, signal: AbortSignal): Promise<ResourceClaim>
  drivers: Pick<Drivers, 'get' | 'health'>
  log: Logger
  /** These claims are in use now. */
  changed?: (claims: readonly ClaimInfo[]) => void
  /** Work for a pod with claims has ended. */
  worked?: (operation: 'PrepareResources' | 'UnprepareResources', failed: boolean, seconds: number) => void
}

/** @throws Error naming a checkpoint that cannot be trusted */
export async function openClaimManager(options: ClaimManagerOptions): Promise<ClaimManager> {
  const { path, read, drivers } = options
  const claims = new Map((await readClaims(path)).map((claim) => [keyOf(claim), claim]))
  const turns = createTurns()
  const saves = createTurns()
  options.changed?.([...claims.values()])

  /** What is not on disk yet when a driver is called would be forgotten by a crash. */
  const save = async (): Promise<void> => {
    options.changed?.([...claims.values()])
    await saves.take([path], async () => writeClaims(path, [...claims.values()]))
  }
  const keep = (changed: readonly ClaimInfo[]): void => {
    for (const claim of changed) claims.set(keyOf(claim), claim)
  }
  const measured = async (operation: 'PrepareResources' | 'UnprepareResources', work: () => Promise<void>) => {
    const began = performance.now()
    const told = (failed: boolean): void => options.worked?.(operation, failed, (performance.now() - began) / 1000)
    try {
      await work()
      told(false)
    } catch (error) {
      told(true)
      throw error
    }
  }

  const has = (podUid: string): boolean => claimsOf(claims, podUid).length > 0
  const prepare = async (pod: Pod, signal: AbortSignal): Promise<void> => {
    const { uid = '', namespace = '' } = pod.metadata ?? {}
    const needed = new Map(neededClaims(pod).map((one) => [one.name, one]))
    const wanted = await Promise.all(
      [...needed].map(async ([name, one]) => usableClaim(pod, one, await fetched(namespace, name, signal))),
    )
    if (wanted.length === 0) return
    // Before anything is kept: a pod whose driver never comes can then go without it.
    for (const driver of new Set(wanted.flatMap((claim) => [...claim.drivers.keys()]))) drivers.get(driver)
    await turns.take(wanted.map(keyOf), async () => {
      signal.throwIfAborted()
      const plan = planPrepare(claims, uid, wanted)
      keep(plan.claims)
      await save()
      if (plan.calls.size === 0) return
      const { done, failure } = await callAll(plan.calls, drivers, async (plugin, refs) => plugin.prepare(refs, signal))
      keep(plan.claims.map((claim) => withPrepared(claim, done.get(claim.uid) ?? new Map())))
      await save()
      if (failure) throw failure
    })
  }
  const fetched = async (namespace: string, name: string, signal: AbortSignal): Promise<ResourceClaim> => {
    try {
      return await read(namespace, name, signal)
    } catch (cause) {
      signal.throwIfAborted()
      throw new Error(`fetch ResourceClaim ${name}: ${(cause as Error).message}`, { cause })
    }
  }
  const unprepare = async (podUid: string, signal: AbortSignal): Promise<void> => {
    await turns.take(claimsOf(claims, podUid).map(keyOf), async () => {
      signal.throwIfAborted()
      const plan = planUnprepare(claims, podUid)
      keep(plan.claims)
      const { done, failure } = await callAll(plan.calls, drivers, async (plugin, refs) =>
        plugin.unprepare(refs, signal),
      )
      for (const claim of claimsOf(claims, podUid)) {
        if ((done.get(claim.uid)?.size ?? 0) === claim.drivers.size) claims.delete(keyOf(claim))
      }
      await save()
      if (failure) throw failure
    })
  }

  const unprepareMeasured: ClaimManager['unprepare'] = async (podUid, signal) => {
    if (!has(podUid)) return
    await measured('UnprepareResources', async () => unprepare(podUid, signal))
  }
  return {
    async prepare(pod, signal) {
      if (!pod.spec?.resourceClaims?.length) return
      await measured('PrepareResources', async () => prepare(pod, signal))
    },
    unprepare: unprepareMeasured,
    has,
    async releaseGone(known, signal) {
      const gone = new Set([...claims.values()].flatMap(({ podUids }) => [...podUids])).difference(known)
      for (const podUid of gone) {
        try {
          await unprepareMeasured(podUid, signal)
        } catch (error) {
          signal.throwIfAborted()
          options.log.warn({ err: error, podUid }, 'claims of a pod that is gone are still prepared; again later')
        }
      }
    },
    cdiIds: (pod, container) => cdiIdsOf(pod, container, claims),
    health(pod, name) {
      const container = containersOf(pod).find((one) => one.name === name)
      if (!container || !has(pod.metadata?.uid ?? '')) return new Map()
      return healthOfContainer(pod, container, claims, drivers.health)
    },
    podsOf: (driver) =>
      new Set([...claims.values()].flatMap((claim) => (claim.drivers.has(driver) ? [...claim.podUids] : []))),
    // A pod without any may still wait for a claim to be made.
    claimsOf: (pod, container) => (has(pod.metadata?.uid ?? '') ? claimsOfContainer(pod, container, claims) : []),
  }
}

/** Claim UID → driver → what it prepared. */
type Done = Map<string, Map<string, readonly ClaimDevice[]>>

/** Calls all drivers at once; `failure` is the first of theirs. */
async function callAll(
  calls: ClaimPlan['calls'],
  drivers: Pick<Drivers, 'get'>,
  call: (plugin: DriverPlugin, claims: readonly ClaimRef[]) => Promise<Outcomes>,
): Promise<{ done: Done; failure?: unknown }> {
  const done: Done = new Map()
  const failures: unknown[] = []
  const one = async (driver: string, claims: readonly ClaimRef[]): Promise<void> => {
    for (const [uid, outcome] of await call(drivers.get(driver), claims)) {
      if (outcome instanceof Error) failures.push(outcome)
      else done.set(uid, (done.get(uid) ?? new Map<string, readonly ClaimDevice[]>()).set(driver, outcome))
    }
  }
  await Promise.all(
    [...calls].map(async ([driver, claims]) => one(driver, claims).catch((error: unknown) => failures.push(error))),
  )
  return { done, failure: failures[0] }
}
