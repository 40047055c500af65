// The turns of a pod's worker: they read the runtime, decide with pure functions, and act.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { PodSandboxConfig } from '@nodelet/cri-api'
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../events.ts'
import { type ActionFacts, type PodActions, podActions, type StartAction, type WaitAction } from './actions.ts'
import type { Waiting } from './container-status.ts'
import { ownedConditions } from './conditions.ts'
import { isStatic } from './labels.ts'
import { type JournalEntry, readJournal, writeJournal } from './journal.ts'
import { killContainer, killPod, podGrace } from './kill.ts'
import { matchCredentials, readPullSecrets } from './pull-secrets.ts'
import { crashLoopMessage } from './restart.ts'
import { isAlive, type RuntimePod } from './runtime-pod.ts'
import { createSandbox, prepareSandbox } from './sandbox.ts'
import { podLogFolder } from './sandbox-config.ts'
import type { PodServices } from './services.ts'
import type { Release } from './slots.ts'
import { fieldPathOf, runPostStart, startContainer, StartError } from './start.ts'
import type { Liveliness } from './started.ts'
import { type ObservedStatus, podStatus } from './status.ts'
import type { EndRequest, PodTurns } from './worker.ts'

/** How long a step that failed for want of something outside waits for its next try. */
const stepRetryMs = 10_000

/** The turns of one pod. @param wake asks its worker for another turn */
export function createPodTurns(services: PodServices, first: Pod, wake: () => void): PodTurns {
  const { clock, events, reader, statuses, prober, node } = services
  const uid = first.metadata?.uid ?? ''
  const waiting = new Map<string, Waiting>()
  const hooks = new Set<string>()
  let journal: JournalEntry | undefined
  let adopted: ObservedStatus | undefined = first.status
  let failure: EndRequest['failure']
  let volumes: Promise<ReadonlyMap<string, string>> | undefined
  let cgroup: Promise<string> | undefined
  let sandbox: PodSandboxConfig | undefined

  const published = (): ObservedStatus | undefined => statuses.get(uid) ?? adopted
  const lively: Liveliness = {
    verdict: (containerId, kind) => prober.verdict(containerId, kind),
    hookRuns: (containerId) => hooks.has(containerId),
    published: (containerId) => {
      const { initContainerStatuses = [], containerStatuses = [] } = published() ?? {}
      const id = `${services.runtimeName}://${containerId}`
      return [...initContainerStatuses, ...containerStatuses].find(({ containerID }) => containerID === id)
    },
  }
  const tell = (pod: Pod, event: NodeletEvent): void => events.record(pod, event)
  const backOffs = (): Map<string, { delayMs: number; updatedMs: number }> =>
    new Map(Object.entries(journal?.backOffs ?? {}))
  const factsOf = (runtime: RuntimePod): ActionFacts => ({
    ...lively,
    runtime,
    backOffs: backOffs(),
    nowMs: clock.now(),
  })

  const publish = (pod: Pod, runtime: RuntimePod, terminating = false): ObservedStatus => {
    const status = podStatus(pod, {
      ...lively,
      runtime,
      runtimeName: services.runtimeName,
      waiting,
      hostIPs: node.hostIPs,
      previous: withForeignConditions(published(), pod),
      terminating,
      failure,
      nowMs: clock.now(),
    })
    // A terminal phase is told when nothing runs any more, not before.
    const early = isTerminal(status) && isAlive(runtime)
    const before = published()
    statuses.set(pod, early && before?.phase ? { ...status, phase: before.phase } : status)
    adopted = undefined
    return status
  }

  const probe = (pod: Pod, runtime: RuntimePod): void => {
    const podIP = (pod.spec?.hostNetwork ? node.hostIPs : runtime.sandboxes[0]?.ips)?.[0] ?? ''
    const probed = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])].filter(
      ({ livenessProbe, readinessProbe, startupProbe }) => livenessProbe ?? readinessProbe ?? startupProbe,
    )
    for (const container of probed) {
      const live = runtime.containers.find(({ name, phase }) => name === container.name && phase === 'running')
      if (!live || hooks.has(live.id)) continue
      prober.add({ pod, container, containerId: live.id, podIP, startedAt: live.startedMs })
    }
  }

  const ensureCgroup = async (pod: Pod): Promise<string> => {
    cgroup ??= services.cgroups?.create(pod) ?? Promise.resolve('')
    try {
      return await cgroup
    } catch (error) {
      cgroup = undefined
      const message = `unable to ensure pod container exists: ${(error as Error).message}`
      tell(pod, { type: 'Warning', reason: 'FailedCreatePodContainer', message })
      throw error
    }
  }

  const ensureVolumes = async (pod: Pod, signal: AbortSignal): Promise<ReadonlyMap<string, string>> => {
    volumes ??= services.volumes.mount(pod, signal)
    try {
      return await volumes
    } catch (error) {
      volumes = undefined
      signal.throwIfAborted()
      tell(pod, { type: 'Warning', reason: 'FailedMount', message: (error as Error).message })
      throw error
    }
  }

  const credentialsFor = async (pod: Pod, container: Container) => {
    const { credentials, missing } = await readPullSecrets(pod, services.objects)
    if (missing.length > 0) {
      const message = `Unable to retrieve some image pull secrets (${missing.join(', ')}); attempting to pull the image may not succeed.`
      tell(pod, { type: 'Warning', reason: 'FailedToRetrieveImagePullSecret', message })
    }
    return matchCredentials(container.image ?? '', credentials)
  }

  const imageOf = async (pod: Pod, container: Container) =>
    services.images.ensure({
      pod,
      container,
      fieldPath: fieldPathOf(pod, container.name),
      credentials: async () => credentialsFor(pod, container),
      changed: wake,
    })

  const showWaits = (pod: Pod, waits: readonly WaitAction[]): void => {
    const { name = '', namespace = '' } = pod.metadata ?? {}
    for (const { container, delayMs } of waits) {
      const message = crashLoopMessage(container.name, { name, namespace, uid }, delayMs)
      if (waiting.get(container.name)?.message !== message) {
        const text = `Back-off restarting failed container ${container.name} in pod ${name}_${namespace}(${uid})`
        tell(pod, { type: 'Warning', reason: 'BackOff', message: text, fieldPath: fieldPathOf(pod, container.name) })
      }
      waiting.set(container.name, { reason: 'CrashLoopBackOff', message })
    }
  }

  /** @returns when to try again; undefined when it runs, or will be woken */
  const startOne = async (
    pod: Pod,
    start: StartAction,
    facts: { runtime: RuntimePod; volumes: ReadonlyMap<string, string>; signal: AbortSignal; release: Release },
  ): Promise<{ againMs?: number; stop?: boolean }> => {
    const { container } = start
    const { runtime, signal } = facts
    const active = runtime.sandboxes[0]
    if (!active || !sandbox) return {}
    const image = await imageOf(pod, container)
    if (image.kind === 'pulling') return { stop: true }
    if (image.kind === 'failed') {
      waiting.set(container.name, { reason: image.reason, message: image.message })
      return { againMs: image.retryMs ?? clock.now() + stepRetryMs }
    }
    signal.throwIfAborted()
    if (start.backOff) {
      journal = { ...journal, backOffs: { ...journal?.backOffs, [container.name]: start.backOff } }
      await writeJournal(node.rootDir, uid, journal)
    }
    try {
      const told = toldRestarts(published(), container.name)
      const startFacts = { sandbox: active, sandboxConfig: sandbox, runtime, image, volumes: facts.volumes, told }
      const id = await startContainer(services, pod, start, startFacts)
      services.images.used(uid, container.name)
      waiting.delete(container.name)
      if (!container.lifecycle?.postStart) return {}
      hooks.add(id)
      facts.release()
      try {
        publish(pod, await reader.read(uid))
        await runPostStart(services, pod, container, id, active.ips[0] ?? '', signal)
      } finally {
        hooks.delete(id)
      }
      return {}
    } catch (error) {
      if (!(error instanceof StartError)) throw error
      waiting.set(container.name, { reason: error.reason, message: error.message })
      const fieldPath = fieldPathOf(pod, container.name)
      if (error.reason !== 'PostStartHookError') {
        tell(pod, { type: 'Warning', reason: 'Failed', message: `Error: ${error.message}`, fieldPath })
      }
      return { againMs: clock.now() + stepRetryMs }
    }
  }

  const startAll = async (
    pod: Pod,
    actions: PodActions,
    runtime: RuntimePod,
    mounted: Promise<ReadonlyMap<string, string>>,
    signal: AbortSignal,
  ): Promise<number | undefined> => {
    if (actions.start.length === 0) return undefined
    const there = await mounted
    let againMs: number | undefined
    for (const start of actions.start) {
      const release = await services.slots.acquire({ resume: true, signal })
      try {
        const result = await startOne(pod, start, { runtime, volumes: there, signal, release })
        againMs = earliest(againMs, result.againMs)
        if (result.stop) break
      } finally {
        release()
      }
    }
    return againMs
  }

  /** Removes what newer instances replaced: of each container one dead stays, of dead sandboxes those that still have any. */
  const prune = async (runtime: RuntimePod): Promise<void> => {
    const seen = new Map<string, number>()
    const kept = new Set<string>()
    for (const container of runtime.containers) {
      const dead = container.phase === 'exited' || container.phase === 'created'
      const count = seen.get(container.name) ?? 0
      if (dead) seen.set(container.name, count + 1)
      if (dead && count > 0) await services.runtime.removeContainer({ containerId: container.id })
      else kept.add(container.sandboxId)
    }
    for (const { id, ready } of runtime.sandboxes.slice(1)) {
      if (!ready && !kept.has(id)) await services.runtime.removePodSandbox({ podSandboxId: id })
    }
  }

  const deadlineOf = (pod: Pod): number | undefined => {
    const seconds = pod.spec?.activeDeadlineSeconds
    const startTime = published()?.startTime
    return seconds === undefined || !startTime ? undefined : Date.parse(startTime) + seconds * 1000
  }

  const pastDeadline = (pod: Pod): boolean => {
    const deadlineMs = deadlineOf(pod)
    if (deadlineMs === undefined || clock.now() < deadlineMs) return false
    const message = 'Pod was active on the node longer than the specified deadline'
    if (!failure) tell(pod, { type: 'Normal', reason: 'DeadlineExceeded', message })
    failure = { reason: 'DeadlineExceeded', message }
    return true
  }

  const remakeSandbox = async (
    pod: Pod,
    attempt: number,
    cgroupParent: Promise<string>,
    signal: AbortSignal,
  ): Promise<RuntimePod> => {
    sandbox = await prepareSandbox(services, pod, attempt, await cgroupParent)
    const release = await services.slots.acquire({ signal })
    try {
      await createSandbox(services, pod, sandbox)
    } finally {
      release()
    }
    return reader.read(uid)
  }

  return {
    async sync(pod, signal) {
      journal ??= await readJournal(node.rootDir, uid)
      let runtime = await reader.read(uid)
      pastDeadline(pod)
      const status = publish(pod, runtime)
      if (isTerminal(status)) return { ended: true }
      services.mirror?.(pod)
      const problem = pod.spec?.hostNetwork ? undefined : services.networkProblem()
      if (problem) {
        const message = `network is not ready: ${problem}`
        tell(pod, { type: 'Warning', reason: 'NetworkNotReady', message })
        throw new Error(message)
      }
      let actions = podActions(pod, factsOf(runtime))
      if (actions.finished) return { ended: true }
      const cgroupParent = ensureCgroup(pod)
      const mounted = ensureVolumes(pod, signal)
      // They are awaited below; a failure meanwhile is no unhandled one.
      for (const begun of [cgroupParent, mounted]) begun.catch(() => {})
      if (actions.killPod) {
        const message = 'Pod sandbox changed, it will be killed and re-created.'
        if (actions.createSandbox) tell(pod, { type: 'Normal', reason: 'SandboxChanged', message })
        await killPod(services, pod, runtime, podGrace(pod))
        runtime = await reader.read(uid)
      }
      if (actions.createSandbox) {
        // Images come in the meantime.
        for (const container of firstToStart(pod)) await imageOf(pod, container)
        runtime = await remakeSandbox(pod, actions.createSandbox.attempt, cgroupParent, signal)
        signal.throwIfAborted()
        publish(pod, runtime)
        actions = podActions(pod, factsOf(runtime))
      }
      sandbox ??= await prepareSandbox(services, pod, runtime.sandboxes[0]?.attempt ?? 0, await cgroupParent)
      for (const { runtime: container, message, probe: kind } of actions.kill) {
        const graceSeconds = graceOf(pod, container.name, kind)
        const podIP = runtime.sandboxes[0]?.ips[0] ?? ''
        await killContainer(services, pod, container, { graceSeconds, podIP, message })
      }
      showWaits(pod, actions.wait)
      const againMs = await startAll(pod, actions, runtime, mounted, signal)
      const after = await reader.read(uid)
      const told = publish(pod, after)
      probe(pod, after)
      await mounted
      await prune(after)
      const next = podActions(pod, factsOf(after))
      // What was started may already have ended, or lets the next one start.
      const goOn = next.start.some(({ container }) => !actions.start.some((one) => one.container === container))
      const moved = isTerminal(told) || next.finished || goOn || next.wait.length > actions.wait.length
      const waits = actions.wait.map(({ untilMs }) => untilMs)
      const now = moved ? clock.now() : undefined
      return { againMs: [now, againMs, deadlineOf(pod), ...waits].reduce(earliest, undefined) }
    },

    async terminate(pod, request) {
      journal ??= await readJournal(node.rootDir, uid)
      failure ??= request.failure
      let runtime = await reader.read(uid)
      publish(pod, runtime, true)
      const graceSeconds = await remainingGrace(pod, request, runtime)
      try {
        await killPod(services, pod, runtime, graceSeconds)
      } catch (error) {
        const message = `error killing pod: ${(error as Error).message}`
        tell(pod, { type: 'Warning', reason: 'FailedKillPod', message })
        throw error
      }
      runtime = await reader.read(uid)
      if (isAlive(runtime)) throw new Error('the runtime says that containers still run after they were stopped')
      publish(pod, runtime, true)
    },

    async terminated(pod, signal) {
      // A mount that was begun is let end: its abort is under way.
      await volumes?.catch(() => undefined)
      await services.volumes.unmount(uid)
      await services.cgroups?.remove(uid)
      publish(pod, await reader.read(uid), true)
      services.images.forget(uid)
      await statuses.flush(uid)
      signal.throwIfAborted()
      // On the wire: first the terminal status, then the removal.
      if (pod.metadata?.deletionTimestamp && !isStatic(pod)) await services.deleteForGood?.(pod)
    },
  }

  /** The grace that is left: time that passed before a restart of the kubelet counts. */
  async function remainingGrace(pod: Pod, request: EndRequest, runtime: RuntimePod): Promise<number> {
    const own = podGrace(pod, runtime)
    const graceSeconds = Math.max(1, Math.min(request.graceSeconds ?? own, own))
    const begun = journal?.terminating
    if (begun) return Math.max(1, Math.min(graceSeconds, begun.graceSeconds) - (clock.now() - begun.sinceMs) / 1000)
    journal = { backOffs: {}, ...journal, terminating: { sinceMs: clock.now(), graceSeconds } }
    if (isAlive(runtime)) await writeJournal(node.rootDir, uid, journal)
    return graceSeconds
  }
}

/** Removes the last of a pod that is wanted no more: its dead containers, logs and folder. */
export async function removePod(services: PodServices, pod: Pod): Promise<void> {
  const uid = pod.metadata?.uid ?? ''
  const runtime = await services.reader.read(uid)
  for (const { id } of runtime.containers) await services.runtime.removeContainer({ containerId: id })
  for (const { id } of runtime.sandboxes) await services.runtime.removePodSandbox({ podSandboxId: id })
  services.reader.forget(uid)
  await rm(podLogFolder(pod, services.node.podLogsDir), { recursive: true, force: true })
  const folder = join(services.node.rootDir, 'pods', uid)
  for (const name of ['containers', 'etc-hosts', 'journal.json'])
    await rm(join(folder, name), { recursive: true, force: true })
}

const isTerminal = ({ phase }: ObservedStatus): boolean => phase === 'Succeeded' || phase === 'Failed'

const earliest = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || (b !== undefined && b < a) ? b : a

/** What starts first in a new sandbox, as far as the spec tells. */
function firstToStart(pod: Pod): Container[] {
  const [init] = pod.spec?.initContainers ?? []
  return init ? [init] : (pod.spec?.containers ?? [])
}

function graceOf(pod: Pod, name: string, probe: string | undefined): number {
  const container = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])].find(
    (one) => one.name === name,
  )
  const own =
    probe === 'liveness' ? container?.livenessProbe : probe === 'startup' ? container?.startupProbe : undefined
  return own?.terminationGracePeriodSeconds ?? podGrace(pod)
}

/** Conditions of others, such as readiness gates, are as the API has them now. */
function withForeignConditions(own: ObservedStatus | undefined, pod: Pod): ObservedStatus | undefined {
  if (!own) return undefined
  const foreign = (pod.status?.conditions ?? []).filter(({ type }) => !ownedConditions.has(type))
  return { ...own, conditions: [...(own.conditions ?? []).filter(({ type }) => ownedConditions.has(type)), ...foreign] }
}

/** The restart count that was told of a container that existed. */
function toldRestarts(status: ObservedStatus | undefined, name: string): number | undefined {
  const { initContainerStatuses = [], containerStatuses = [] } = status ?? {}
  const told = [...initContainerStatuses, ...containerStatuses].find((one) => one.name === name)
  return told?.containerID ? told.restartCount : undefined
}
