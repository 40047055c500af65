// What to do next with the containers of a pod that shall run. Pure.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { type Allocation, changesOf, needsRestart } from '../resize/allocation.ts'
import type { ProbeKind } from '../probe/types.ts'
import { containerHash } from './labels.ts'
import {
  type BackOff,
  backOffKey,
  type BackOffLimits,
  decideRestart,
  mayRestart,
  restartsAll,
  type RestartableContainer,
  type RestartPolicy,
} from './restart.ts'
import { newestOf, type RuntimeContainer, type RuntimePod, type RuntimeSandbox } from './runtime-pod.ts'
import { isStarted, type Liveliness } from './started.ts'

export interface ActionFacts extends Liveliness {
  runtime: RuntimePod
  /** By {@link backOffKey}. */
  backOffs: ReadonlyMap<string, BackOff>
  /** What the runtime was told of each container's resources. */
  actuated?: Allocation
  /** The longest back-off; default 300 s. */
  maxRestartMs?: number
  nowMs: number
}

export type ContainerKind = 'init' | 'regular' | 'ephemeral'

export interface StartAction {
  kind: ContainerKind
  container: Container
  /** The attempt that came before; undefined for the first. */
  previous?: RuntimeContainer
  /** To be remembered once the start is tried. */
  backOff?: BackOff
}

export interface KillAction {
  container: Container
  runtime: RuntimeContainer
  /** For the event, for instance `Container web failed liveness probe, will be restarted`. */
  message: string
  /** The probe whose own grace period counts. */
  probe?: ProbeKind
  /** It gets other resources: that is no crash. */
  resize?: true
}

/** A container in its crash-loop back-off. */
export interface WaitAction {
  container: Container
  kind: ContainerKind
  untilMs: number
  delayMs: number
}

export interface PodActions {
  /** The sandbox that containers start in; undefined when there is none fit. */
  sandbox?: RuntimeSandbox
  /** Every regular container has ended for good: sidecars have nothing to serve. */
  finished: boolean
  /** Kill all that runs and stop every sandbox first. */
  killPod: boolean
  /** Make a sandbox with this attempt, then decide again. */
  createSandbox?: { attempt: number }
  /** A container's rule asks for all to be restarted: kill and remove them, this one last, then decide again. */
  restartAll?: { container: Container; runtime: RuntimeContainer; backOff: BackOff }
  kill: KillAction[]
  /** In order. */
  start: StartAction[]
  wait: WaitAction[]
}

export function podActions(pod: Pod, facts: ActionFacts): PodActions {
  const { runtime } = facts
  const newest = runtime.sandboxes[0]
  const actions: PodActions = { finished: isFinished(pod, facts), killPod: false, kill: [], start: [], wait: [] }
  if (!newest || !isFit(pod, runtime, newest)) {
    actions.killPod = runtime.sandboxes.length > 0
    if (somethingMayRun(pod, facts)) actions.createSandbox = { attempt: newest ? newest.attempt + 1 : 0 }
    return actions
  }
  actions.sandbox = newest
  if (decideRestartAll(pod, facts, newest.id, actions)) return actions
  for (const container of ephemeralContainers(pod)) {
    if (!newestOf(runtime, container.name)) actions.start.push({ kind: 'ephemeral', container })
  }
  const initialized = (pod.spec?.containers ?? []).some(({ name }) => newestOf(runtime, name, newest.id))
  if (decideInits(pod, facts, newest.id, initialized, actions)) {
    for (const container of pod.spec?.containers ?? []) decide('regular', container, pod, facts, newest.id, actions)
  }
  return actions
}

/** One ready sandbox with the right network and, unless that is the host's, an address. */
function isFit(pod: Pod, runtime: RuntimePod, newest: RuntimeSandbox): boolean {
  const hostNetwork = pod.spec?.hostNetwork ?? false
  const oneReady = newest.ready && runtime.sandboxes.filter(({ ready }) => ready).length === 1
  return oneReady && newest.hostNetwork === hostNetwork && (hostNetwork || newest.ips.length > 0)
}

function isFinished(pod: Pod, { runtime }: ActionFacts): boolean {
  const policy = policyOf(pod)
  return (pod.spec?.containers ?? []).every((container) => {
    const last = newestOf(runtime, container.name)
    return last?.phase === 'exited' && !mayRestart(container, policy, last.exitCode)
  })
}

function somethingMayRun(pod: Pod, { runtime }: ActionFacts): boolean {
  if (runtime.containers.length === 0) return true
  const policy = policyOf(pod)
  return (pod.spec?.containers ?? []).some((container) => {
    const last = newestOf(runtime, container.name)
    return !last || (last.phase !== 'exited' ? policy !== 'Never' : mayRestart(container, policy, last.exitCode))
  })
}

/** One that ended so that all are to be restarted. @returns whether that is all there is to do */
function decideRestartAll(pod: Pod, facts: ActionFacts, sandboxId: string, out: PodActions): boolean {
  const inits = pod.spec?.initContainers ?? []
  for (const container of [...inits, ...(pod.spec?.containers ?? [])]) {
    const last = newestOf(facts.runtime, container.name, sandboxId)
    if (last?.phase !== 'exited' || !restartsAll(container, last.exitCode)) continue
    const known = facts.backOffs.get(backOffKey(container))
    const decision = decideRestart(known, last.finishedMs, facts.nowMs, limitsOf(facts))
    if (decision.kind === 'start') {
      out.restartAll = { container, runtime: last, backOff: decision.backOff }
      return true
    }
  }
  return false
}

/**
 * The last init container that there is decides which comes next: what was before it has done its part, though sidecars are
 * looked after at all times. @returns whether regular containers may start
 */
function decideInits(pod: Pod, facts: ActionFacts, sandboxId: string, initialized: boolean, out: PodActions): boolean {
  const inits = pod.spec?.initContainers ?? []
  const currentOf = ({ name }: Container): RuntimeContainer | undefined => newestOf(facts.runtime, name, sandboxId)
  const latest = initialized ? inits.length - 1 : inits.findLastIndex((container) => currentOf(container))
  for (const container of inits.slice(0, latest + 1)) {
    if (isSidecar(container)) decide('init', container, pod, facts, sandboxId, out)
  }
  if (initialized) return true
  const last = inits[latest]
  const current = last && currentOf(last)
  const isDone = last && isSidecar(last) ? isStarted(last, current, facts) : current?.exitCode === 0
  if (last && !(isDone && (isSidecar(last) || current?.phase === 'exited'))) {
    if (!isSidecar(last)) decide('init', last, pod, facts, sandboxId, out)
    return false
  }
  const next = inits[latest + 1]
  if (next) decide('init', next, pod, facts, sandboxId, out)
  return !next
}

function decide(
  kind: ContainerKind,
  container: Container,
  pod: Pod,
  facts: ActionFacts,
  sandboxId: string,
  out: PodActions,
): void {
  const current = newestOf(facts.runtime, container.name, sandboxId)
  if (current?.phase === 'running') {
    const kill = reasonToKill(container, current, policyOf(pod), facts)
    if (!kill) return
    const { always = false, ...told } = kill
    out.kill.push({ container, runtime: current, ...told })
    if (!always && effectivePolicy(container, policyOf(pod)) === 'Never') return
    if (kill.resize) out.start.push({ kind, container, previous: current })
    else restartKilled(kind, container, current, facts, out)
    return
  }
  const last = current ?? newestOf(facts.runtime, container.name)
  if (!last) {
    out.start.push({ kind, container })
    return
  }
  if (last.phase === 'unknown' && current) {
    out.kill.push({
      container,
      runtime: last,
      message: `Container ${container.name} is in unknown state, try killing it before restart`,
    })
    restartKilled(kind, container, current, facts, out)
    return
  }
  // In a new sandbox plain init containers run again, whatever they came to before.
  const again = kind === 'init' && !isSidecar(container) && !current
  // One that was made and never started has not run once.
  if (!again && last.phase === 'exited' && !mayRestart(container, policyOf(pod), last.exitCode)) return
  const endedMs = last.finishedMs || last.createdMs
  const decision = decideRestart(facts.backOffs.get(backOffKey(container)), endedMs, facts.nowMs, limitsOf(facts))
  if (decision.kind === 'wait') out.wait.push({ kind, container, untilMs: decision.untilMs, delayMs: decision.delayMs })
  else out.start.push({ kind, container, previous: last, backOff: decision.backOff })
}

/** What is killed so that it runs better starts at once, unless one before it has just ended: then it waits as that would. */
function restartKilled(
  kind: ContainerKind,
  container: Container,
  current: RuntimeContainer,
  facts: ActionFacts,
  out: PodActions,
): void {
  const before = facts.runtime.containers.find((one) => one.name === container.name && one.phase === 'exited')
  const known = facts.backOffs.get(backOffKey(container))
  const decision = before && decideRestart(known, before.finishedMs, facts.nowMs, limitsOf(facts))
  if (decision?.kind === 'wait') return
  out.start.push({ kind, container, previous: current, ...(decision && { backOff: decision.backOff }) })
}

function reasonToKill(
  container: Container,
  current: RuntimeContainer,
  podPolicy: RestartPolicy,
  facts: ActionFacts,
): (Pick<KillAction, 'message' | 'probe' | 'resize'> & { always?: true }) | undefined {
  const name = container.name
  const then = effectivePolicy(container, podPolicy) === 'Never' ? '' : ', will be restarted'
  if (current.hash && current.hash !== containerHash(container)) {
    return { message: `Container ${name} definition changed, will be restarted`, always: true }
  }
  if (facts.actuated && needsRestart(container, changesOf(facts.actuated[name], container.resources))) {
    return { message: `Container ${name} resize requires restart`, resize: true }
  }
  if (container.livenessProbe && facts.verdict(current.id, 'liveness') === false) {
    return { message: `Container ${name} failed liveness probe${then}`, probe: 'liveness' }
  }
  if (container.startupProbe && facts.verdict(current.id, 'startup') === false) {
    return { message: `Container ${name} failed startup probe${then}`, probe: 'startup' }
  }
  return undefined
}

const limitsOf = ({ maxRestartMs }: ActionFacts): BackOffLimits =>
  maxRestartMs === undefined ? {} : { maxMs: maxRestartMs }

const effectivePolicy = (container: Container, podPolicy: RestartPolicy): string =>
  (container as RestartableContainer).restartPolicy ?? podPolicy

export const isSidecar = (container: Container): boolean => container.restartPolicy === 'Always'

export const policyOf = (pod: Pod): RestartPolicy => (pod.spec?.restartPolicy ?? 'Always') as RestartPolicy

/** They have all fields of a container that matter here. */
export const ephemeralContainers = (pod: Pod): Container[] =>
  (pod.spec?.ephemeralContainers ?? []).map(({ targetContainerName: _, ...container }) => container)
