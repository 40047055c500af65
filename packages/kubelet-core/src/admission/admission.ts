// Who may run on this node: pods are judged one after the other, each counting those before it.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import type { PodFailure } from '../pod/worker.ts'
import { type AdmissionFacts, earlyObstacle, type Obstacle, obstacleTo } from './checks.ts'
import { isCritical } from './critical.ts'
import type { Rejection } from './node-fit.ts'
import { victimsFor } from './preemption.ts'

/** Gives what a node has of countable things: devices, exclusive CPUs. All of a pod's or nothing. */
export interface ResourceGiver {
  /** Fine for a pod that has its share already. */
  admit(pod: Pod, signal: AbortSignal): Promise<Rejection | undefined>
  release(podUid: string): Promise<void>
}

export interface AdmissionOptions {
  /** What is known of the node; `fresh` asks the API server first. */
  facts(fresh: boolean, signal: AbortSignal): Promise<Omit<AdmissionFacts, 'active'>>
  giver: ResourceGiver
  /** Ends a pod, so that another fits; fulfilled when nothing of it runs. */
  end(pod: Pod, failure: PodFailure): Promise<void>
  /** Told of each pod that is ended for another, and which resource that one lacked first. */
  preempted?(resource: string): void
  events: Pick<EventRecorder, 'record'>
  log: Logger
}

export interface Admission {
  /**
   * Undefined for a pod that may run; it counts from then on. A pod that ran before this kubelet began stays admitted.
   * @throws the signal's reason
   */
  admit(pod: Pod, signal: AbortSignal): Promise<Rejection | undefined>
  /** Counts a pod that ran before this kubelet began. */
  adopt(pod: Pod): void
  /** The pod has ended: what it had is free. */
  release(podUid: string): Promise<void>
  /** Those that count. */
  active(): readonly Pod[]
}

export function createAdmission({ facts, giver, end, preempted, events, log }: AdmissionOptions): Admission {
  const admitted = new Map<string, Pod>()
  let tail: Promise<unknown> = Promise.resolve()

  const judge = async (pod: Pod, signal: AbortSignal): Promise<Rejection | undefined> => {
    const known = { ...(await facts(false, signal)), active: [...admitted.values()] }
    const early = earlyObstacle(pod, known)
    if (early) return early
    const refused = await giver.admit(pod, signal)
    if (refused) return refused
    const obstacle = obstacleTo(pod, known)
    if (obstacle?.rejection.reason === 'NodeAffinity') {
      // What is known of the labels may lag behind the scheduler's knowledge.
      return settle(pod, obstacleTo(pod, { ...known, ...(await facts(true, signal)) }), signal)
    }
    return settle(pod, obstacle, signal)
  }

  const settle = async (
    pod: Pod,
    obstacle: Obstacle | undefined,
    signal: AbortSignal,
  ): Promise<Rejection | undefined> => {
    if (!obstacle?.shortages || !isCritical(pod)) return obstacle?.rejection
    const victims = victimsFor(pod, [...admitted.values()], obstacle.shortages)
    if (!victims) {
      const lacks = obstacle.shortages.map(({ name, missing }) => `(res: ${name}, q: ${missing}), `)
      const message = `Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: [${lacks.join('')}]`
      return { reason: 'UnexpectedAdmissionError', message }
    }
    for (const victim of victims) {
      signal.throwIfAborted()
      await preempt(victim)
      preempted?.(obstacle.shortages[0]?.name ?? '')
    }
    return undefined
  }

  const preempt = async (victim: Pod): Promise<void> => {
    const message = 'Preempted in order to admit critical pod'
    events.record(victim, { type: 'Warning', reason: 'Preempting', message })
    const disruption = 'Pod was preempted by Kubelet to accommodate a critical pod.'
    try {
      await end(victim, { reason: 'Preempting', message, disruption })
    } catch (error) {
      // One that is slow to go does not make the critical pod fail: the next may give what it lacks.
      log.warn({ err: error, pod: victim.metadata?.name }, 'a pod could not be ended for a critical one')
      return
    }
    log.info({ pod: victim.metadata?.name, namespace: victim.metadata?.namespace }, 'ended for a critical pod')
  }

  const decide = async (pod: Pod, signal: AbortSignal): Promise<Rejection | undefined> => {
    const uid = pod.metadata?.uid ?? ''
    signal.throwIfAborted()
    const before = admitted.has(uid)
    const rejection = before ? await readmit(pod, signal) : await checked(async () => judge(pod, signal), signal)
    if (!rejection) admitted.set(uid, pod)
    else await giver.release(uid)
    return rejection
  }

  /** What such a pod has been given is known from disk; only when that was lost may it be refused. */
  const readmit = async (pod: Pod, signal: AbortSignal): Promise<undefined> => {
    const refused = await giver.admit(pod, signal)
    if (refused) log.warn({ pod: pod.metadata?.name, ...refused }, 'a pod that runs already was not given its share')
    return undefined
  }

  return {
    async admit(pod, signal) {
      const mine = tail.then(async () => decide(pod, signal))
      tail = mine.catch(() => undefined) // who asked is told
      return mine
    },
    adopt: (pod) => void admitted.set(pod.metadata?.uid ?? '', pod),
    async release(podUid) {
      admitted.delete(podUid)
      await giver.release(podUid)
    },
    active: () => [...admitted.values()],
  }
}

/** One pod that cannot be judged must not keep the others from being. */
async function checked(
  judge: () => Promise<Rejection | undefined>,
  signal: AbortSignal,
): Promise<Rejection | undefined> {
  try {
    return await judge()
  } catch (error) {
    signal.throwIfAborted()
    return { reason: 'UnexpectedAdmissionError', message: (error as Error).message }
  }
}
