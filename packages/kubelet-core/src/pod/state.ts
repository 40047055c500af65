// What a kubelet remembers of one pod between turns, and how it tells the pod's status.
import type { PodSandboxConfig } from '@nodelet/cri-api'
import type { Container, ContainerStatus, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../events.ts'
import type { ActionFacts } from './actions.ts'
import type { Allocation } from '../resize/allocation.ts'
import { ownedConditions, type ResizeState } from './conditions.ts'
import type { Waiting } from './container-status.ts'
import { isStatic } from './labels.ts'
import { type JournalEntry, readJournal, writeJournal } from './journal.ts'
import { type BackOff, backOffKey } from './restart.ts'
import { isAlive, type RuntimePod } from './runtime-pod.ts'
import type { PodServices } from './services.ts'
import type { Liveliness } from './started.ts'
import type { PodPhase } from './phase.ts'
import type { PodFailure, WorkerPhase } from './worker.ts'
import { type ObservedStatus, podStatus, type StatusFacts } from './status.ts'
import { newlyTerminated } from './terminated.ts'

export interface PodState extends Liveliness {
  readonly uid: string
  /** Why containers wait, by name. */
  readonly waiting: Map<string, Waiting>
  /** Containers whose postStart hook has not returned. */
  readonly hooks: Set<string>
  /** It may run on this node. */
  admitted: boolean
  /** It may not: nothing of it was ever begun. */
  rejected: boolean
  /** Why the pod failed as a whole. */
  failure?: PodFailure | undefined
  /** What its containers were given; undefined before the first turn. */
  allocated?: Allocation | undefined
  /** What the runtime was told. */
  actuated?: Allocation | undefined
  resize: ResizeState
  /** The CPUs that containers were told, by ID. */
  readonly cpusets: Map<string, string>
  /** All containers are being restarted in place. */
  restartingAll: boolean
  volumes?: Promise<ReadonlyMap<string, string>> | undefined
  cgroup?: Promise<string> | undefined
  sandbox?: PodSandboxConfig | undefined
  tell(pod: Pod, event: NodeletEvent): void
  journal(): Promise<JournalEntry>
  /** Remembers over a crash. */
  remember(changes: Partial<JournalEntry>): Promise<void>
  rememberBackOff(container: Container, backOff: BackOff): Promise<void>
  facts(runtime: RuntimePod): Promise<ActionFacts>
  /** The status as last told, by this kubelet or the one before. */
  told(): ObservedStatus | undefined
  /** Tells the status; a terminal phase only once nothing runs, and its claims are unprepared. @returns the status as it would be then */
  publish(pod: Pod, runtime: RuntimePod, phase?: WorkerPhase): ObservedStatus
  /** Tells what was told last as it is now. */
  republish(): void
  /** Containers whose preStop hook was begun. */
  readonly hooked: Set<string>
}

export function createPodState(services: PodServices, first: Pod): PodState {
  const { clock, statuses, node, runtimeName, events, prober, metrics } = services
  const uid = first.metadata?.uid ?? ''
  let journal: JournalEntry | undefined
  let last: { pod: Pod; runtime: RuntimePod; phase: WorkerPhase } | undefined

  const told = (): ObservedStatus | undefined =>
    statuses.get(uid) ?? (isStatic(first) ? ofMirror(statuses.known(uid)) : first.status)
  /** What has just become able to serve need not wait for its next probe. */
  const hurryReadiness = (pod: Pod, { containers }: RuntimePod, status: ObservedStatus): void => {
    const unready = containerStatuses(status).filter(({ ready, started }) => started && !ready)
    for (const { name } of unready) {
      const one = containers.find((container) => container.name === name && container.phase === 'running')
      if (one && hasReadiness(pod, name)) prober.hurry(one.id)
    }
  }

  const state: PodState = {
    uid,
    admitted: false,
    rejected: false,
    waiting: new Map(),
    resize: {},
    cpusets: new Map(),
    restartingAll: false,
    hooks: new Set(),
    hooked: new Set(),
    told,
    tell: (pod, event) => events.record(pod, event),
    verdict: (containerId, kind) => prober.verdict(containerId, kind),
    hookRuns: (containerId) => state.hooks.has(containerId),
    published: (containerId) =>
      containerStatuses(told()).find(({ containerID }) => containerID === `${runtimeName}://${containerId}`),
    journal: async () => (journal ??= await readJournal(node.rootDir, uid)),
    async remember(changes) {
      journal = { ...(await state.journal()), ...changes }
      await writeJournal(node.rootDir, uid, journal)
    },
    async rememberBackOff(container, backOff) {
      const { backOffs } = await state.journal()
      const others = Object.entries(backOffs).filter(([key]) => !key.startsWith(`${container.name}/`))
      await state.remember({ backOffs: { ...Object.fromEntries(others), [backOffKey(container)]: backOff } })
    },
    async facts(runtime) {
      const { backOffs } = await state.journal()
      const { verdict, hookRuns, published } = state
      const liveliness = { verdict, hookRuns, ...(published && { published }) }
      return {
        ...liveliness,
        ...(state.actuated && { actuated: state.actuated }),
        runtime,
        backOffs: new Map(Object.entries(backOffs)),
        maxRestartMs: node.maxRestartMs,
        nowMs: clock.now(),
      }
    },
    publish(pod, runtime, phase = 'syncing') {
      last = { pod, runtime, phase }
      const before = told()
      const facts: StatusFacts = {
        ...state,
        devicesOf: (container) =>
          new Map([...services.devices.health(uid, container), ...services.claims.health(pod, container)]),
        runtime,
        runtimeName,
        hostIPs: node.hostIPs,
        previous: withForeignConditions(before, pod),
        terminating: phase !== 'syncing',
        ended: phase === 'terminated' && !state.rejected,
        nowMs: clock.now(),
      }
      const status = podStatus(pod, facts)
      for (const { kind, exitCode, reason } of newlyTerminated(before, status)) {
        metrics.terminatedContainers.inc({ container_type: kind, exit_code: String(exitCode), reason })
      }
      if (phase === 'syncing') hurryReadiness(pod, runtime, status)
      const isInUse = isAlive(runtime) || services.claims.has(uid)
      const heldBack = isTerminal(status) && isInUse ? before?.phase : undefined
      const shown = heldBack ? podStatus(pod, { ...facts, failure: undefined, heldBack: heldBack as PodPhase }) : status
      statuses.set(pod, shown)
      return status
    },
    republish() {
      if (last) state.publish(last.pod, services.reader.last(uid) ?? last.runtime, last.phase)
    },
  }
  return state
}

/** A static pod runs again after what its mirror came to; since when it runs, and was ready, stays. */
function ofMirror(status: ObservedStatus | undefined): ObservedStatus | undefined {
  if (!status || !isTerminal(status)) return status
  const { phase: _, reason: __, message: ___, ...rest } = status
  return rest
}

export const isTerminal = ({ phase }: ObservedStatus): boolean => phase === 'Succeeded' || phase === 'Failed'

function containerStatuses(status: ObservedStatus | undefined): ContainerStatus[] {
  const { initContainerStatuses = [], containerStatuses: regular = [] } = status ?? {}
  return [...initContainerStatuses, ...regular]
}

const hasReadiness = ({ spec }: Pod, name: string): boolean =>
  [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].some((one) => one.name === name && one.readinessProbe)

/** The restart count that was told of a container that existed. */
export function toldRestarts(status: ObservedStatus | undefined, name: string): number | undefined {
  const found = containerStatuses(status).find((one) => one.name === name)
  return found?.containerID ? found.restartCount : undefined
}

/** Conditions of others, such as readiness gates, are as the API has them now. */
function withForeignConditions(own: ObservedStatus | undefined, pod: Pod): ObservedStatus | undefined {
  if (!own) return undefined
  const mine = (own.conditions ?? []).filter(({ type }) => ownedConditions.has(type))
  const others = (pod.status?.conditions ?? []).filter(({ type }) => !mine.some((one) => one.type === type))
  return { ...own, conditions: [...mine, ...others] }
}
