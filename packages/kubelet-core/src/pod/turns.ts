// The turns of a pod's worker: they read the runtime, decide with pure functions, and act.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { type PodActions, podActions, type WaitAction } from './actions.ts'
import { applyCpusets } from './cpusets.ts'
import { hookHost, killContainer, killPod, podGrace } from './kill.ts'
import { isStatic, podTitle } from './labels.ts'
import { ensureCgroup, ensureVolumes, makeSandbox, prepareClaims } from './prepare.ts'
import { prunePod } from './prune.ts'
import { allot, applyResize, endResize } from './resize.ts'
import { crashLoopMessage } from './restart.ts'
import { isMissingSome, restartAll } from './restart-all.ts'
import { isAlive, type RuntimePod } from './runtime-pod.ts'
import { prepareSandbox } from './sandbox.ts'
import type { PodServices } from './services.ts'
import { fieldPathOf } from './start.ts'
import { earliest, ensureImage, startContainers, type StarterContext } from './starter.ts'
import { createPodState, isTerminal, type PodState } from './state.ts'
import { VolumeError } from '../volume/types.ts'
import { isTold, markTold } from './told.ts'
import { createTurnstile } from './turnstile.ts'
import type { EndRequest, PodTurns } from './worker.ts'

/** Turns, and a way to tell the status anew between them. */
export interface RefreshedTurns extends PodTurns {
  /** A probe has another verdict: whether containers are ready is told at once, whatever a turn is waiting for. */
  refresh(): void
}

/** The turns of one pod. @param wake asks its worker for another turn */
export function createPodTurns(services: PodServices, first: Pod, wake: () => void): RefreshedTurns {
  const state = createPodState(services, first)
  const { uid } = state
  const { reader, statuses, metrics } = services
  const seenMs = services.clock.now()
  let hasBegun = false
  let isDeleted = false
  let wasRunning = first.status?.phase === 'Running'
  return {
    async sync(pod, signal) {
      if (!hasBegun) {
        hasBegun = true
        metrics.podWorkerStartSeconds.observe((services.clock.now() - seenMs) / 1000)
        metrics.containersPerPod.observe(pod.spec?.containers.length ?? 0)
      }
      const turnstile = createTurnstile(services.slots, signal)
      const took = metrics.podWorkerSeconds.startTimer({ operation_type: wasRunning ? 'sync' : 'create' })
      try {
        return await syncPod({ services, state, pod, signal, turnstile, wake })
      } catch (error) {
        reader.outdate(uid)
        if (!signal.aborted && !isTold(error)) {
          const message = `Error syncing pod, skipping: ${error instanceof Error ? error.message : String(error)}`
          state.tell(pod, { type: 'Warning', reason: 'FailedSync', message })
        }
        throw error
      } finally {
        took()
        turnstile.leave()
        if (!wasRunning && state.told()?.phase === 'Running') {
          wasRunning = true
          metrics.podStartSeconds.observe((services.clock.now() - seenMs) / 1000)
        }
      }
    },

    async terminate(pod, request, signal) {
      state.failure ??= request.failure
      const before = await reader.read(uid)
      for (const { id, phase } of before.containers) {
        if (phase === 'running') services.prober.remove(id, ['startup', 'liveness'])
        else services.prober.remove(id)
      }
      state.publish(pod, before, 'terminating')
      const graceSeconds = await remainingGrace(services, state, pod, request, before)
      const took = metrics.podWorkerSeconds.startTimer({ operation_type: 'kill' })
      try {
        await killPod(services, pod, before, { graceSeconds, signal, hooked: state.hooked })
        took()
      } catch (error) {
        signal.throwIfAborted()
        const message = `error killing pod: ${(error as Error).message}`
        state.tell(pod, { type: 'Warning', reason: 'FailedKillPod', message })
        throw error
      }
      const after = await reader.read(uid)
      for (const { id, phase } of after.containers) if (phase !== 'running') services.prober.remove(id)
      if (isAlive(after)) throw new Error('the runtime says that containers still run after they were stopped')
      // Who waits for the pod's end may give its claims to another one.
      await services.claims.unprepare(uid, signal)
      state.publish(pod, after, 'terminating')
    },

    async terminated(pod, signal) {
      // A mount that was begun is let end: its abort is under way, and what it fails of no longer matters.
      await state.volumes?.catch(() => undefined)
      await services.volumes.unmount(uid)
      await services.cgroups?.remove(uid)
      await services.userNamespaces.release(uid)
      services.resizer.forget(uid)
      await services.admission.release(uid)
      services.resizer.retry('pods_removed')
      state.publish(pod, await reader.read(uid, signal), 'terminated')
      services.images.forget(uid)
    },

    async told(pod, signal) {
      await statuses.flush(uid, signal)
      signal.throwIfAborted()
      // On the wire: first the terminal status, then the removal.
      if (isDeleted || !pod.metadata?.deletionTimestamp || isStatic(pod)) return
      isDeleted = (await services.deleteForGood?.(pod)) ?? false
    },

    refresh: () => state.republish(),
  }
}

/** Whether the pod may run; what keeps it from that is told once and is its end. */
async function admit({ services, state, pod, signal }: StarterContext): Promise<boolean> {
  const rejection = await services.admission.admit(pod, signal)
  if (rejection) reject(services, state, pod, rejection)
  return !rejection
}

function reject(
  { metrics }: PodServices,
  state: PodState,
  pod: Pod,
  { reason, message }: { reason: string; message: string },
): void {
  metrics.rejections.inc({ reason })
  state.tell(pod, { type: 'Warning', reason, message })
  state.failure = { reason, message: `Pod was rejected: ${message}` }
  state.rejected = true
}

async function syncPod(context: StarterContext): Promise<{ againMs?: number | undefined; ended?: boolean }> {
  const { services, state } = context
  const pod = await allot(services, state, context.pod)
  try {
    return await syncAllotted({ ...context, pod })
  } catch (error) {
    if (!(error instanceof VolumeError && error.isLimit)) throw error
    // Its volumes fit on another node, perhaps: whoever made the pod makes another one.
    reject(services, state, pod, { reason: 'VolumeAttachmentLimitExceeded', message: error.message })
    state.publish(pod, await services.reader.read(state.uid))
    return { ended: true }
  }
}

async function syncAllotted(context: StarterContext): Promise<{ againMs?: number | undefined; ended?: boolean }> {
  const { services, state, pod, signal, turnstile } = context
  const { reader } = services
  state.admitted ||= await admit(context)
  if (!state.admitted) return { ended: true }
  let runtime = await reader.look(state.uid)
  checkDeadline(services, state, pod)
  if (isTerminal(state.publish(pod, runtime))) return { ended: true }
  services.mirror?.(pod)
  checkNetwork(services, state, pod)
  let actions = podActions(pod, await state.facts(runtime))
  if (actions.finished) return { ended: true }
  if (actions.restartAll) {
    runtime = await restartAll(services, state, pod, runtime, actions.restartAll)
    actions = podActions(pod, await state.facts(runtime))
  }
  // Of many pods at once the first ones are up first: the others wait before they cost anything.
  if (actions.createSandbox && !actions.killPod) await turnstile.enter({ resume: false })
  const cgroupParent = ensureCgroup(services, state, pod)
  const mounted = ensureVolumes(services, state, pod, signal)
  // Both are awaited below; a failure before that is not lost.
  for (const begun of [cgroupParent, mounted]) begun.catch(() => {})
  if (actions.killPod) runtime = await killForNewSandbox(services, state, pod, runtime, actions)
  if (actions.createSandbox) {
    // Images come in the meantime.
    for (const container of firstToStart(pod)) await ensureImage(context, container)
    await settled(prepareClaims(services, state, pod, signal), turnstile.leave)
    const { attempt } = actions.createSandbox
    runtime = await makeSandbox(services, state, pod, { attempt, cgroupParent, turnstile })
    signal.throwIfAborted()
    state.publish(pod, runtime)
    actions = podActions(pod, await state.facts(runtime))
  }
  state.sandbox ??= await prepareSandbox(services, pod, runtime.sandboxes[0]?.attempt ?? 0, await cgroupParent)
  await killMarked(services, pod, runtime, actions)
  const killed = new Set(actions.kill.map((one) => one.runtime.id))
  await applyResize(services, state, pod, {
    ...runtime,
    containers: runtime.containers.filter(({ id }) => !killed.has(id)),
  })
  showWaits(state, pod, actions.wait)
  const volumes = actions.start.length > 0 ? await settled(mounted, turnstile.leave) : new Map<string, string>()
  const againMs = await startContainers(context, actions.start, runtime, volumes)
  turnstile.leave()
  const acted = actions.start.length > 0 || killed.size > 0
  const after = acted ? await reader.read(state.uid) : runtime
  await applyCpusets(services, state, after)
  endResize(state, pod, after)
  state.restartingAll &&= isMissingSome(pod, after)
  const ended = isTerminal(state.publish(pod, after))
  probe(services, state, pod, after)
  await mounted
  await prunePod(services, after)
  const next = podActions(pod, await state.facts(after))
  // What was started may already have ended, or lets the next one start.
  const goOn = next.start.some(({ container }) => !actions.start.some((one) => one.container === container))
  const moved = ended || next.finished || goOn || next.wait.length > actions.wait.length
  const nowMs = moved ? services.clock.now() : undefined
  const waits = actions.wait.map(({ untilMs }) => untilMs)
  return { againMs: [nowMs, againMs, deadlineOf(state, pod), ...waits].reduce(earliest, undefined) }
}

/** What is there at once keeps its place; before a longer wait it is given back. */
async function settled<T>(promise: Promise<T>, leave: () => void): Promise<T> {
  const pending = Symbol('pending')
  const tick = new Promise((resolve) => setImmediate(resolve, pending))
  if ((await Promise.race([promise, tick])) === pending) leave()
  return promise
}

function checkNetwork(services: PodServices, state: PodState, pod: Pod): void {
  const problem = pod.spec?.hostNetwork ? undefined : services.networkProblem()
  if (!problem) return
  const message = `network is not ready: ${problem}`
  state.tell(pod, { type: 'Warning', reason: 'NetworkNotReady', message })
  throw markTold(new Error(message))
}

function deadlineOf(state: PodState, pod: Pod): number | undefined {
  const seconds = pod.spec?.activeDeadlineSeconds
  const startTime = state.told()?.startTime
  return seconds === undefined || !startTime ? undefined : Date.parse(startTime) + seconds * 1000
}

function checkDeadline({ clock }: PodServices, state: PodState, pod: Pod): void {
  const deadlineMs = deadlineOf(state, pod)
  if (deadlineMs === undefined || clock.now() < deadlineMs || state.failure) return
  const message = 'Pod was active on the node longer than the specified deadline'
  state.failure = { reason: 'DeadlineExceeded', message }
  state.tell(pod, { type: 'Normal', reason: 'DeadlineExceeded', message })
}

async function killForNewSandbox(
  services: PodServices,
  state: PodState,
  pod: Pod,
  runtime: RuntimePod,
  { createSandbox }: PodActions,
): Promise<RuntimePod> {
  const message = 'Pod sandbox changed, it will be killed and re-created.'
  if (createSandbox) state.tell(pod, { type: 'Normal', reason: 'SandboxChanged', message })
  await killPod(services, pod, runtime, { graceSeconds: podGrace(pod) })
  return services.reader.read(state.uid)
}

async function killMarked(services: PodServices, pod: Pod, runtime: RuntimePod, { kill }: PodActions): Promise<void> {
  const podIP = hookHost(services, pod, runtime)
  for (const { container, runtime: live, message, probe: kind } of kill) {
    const own = kind === 'liveness' ? container.livenessProbe : kind === 'startup' ? container.startupProbe : undefined
    const graceSeconds = own?.terminationGracePeriodSeconds ?? podGrace(pod)
    await killContainer(services, pod, live, { graceSeconds, podIP, message })
  }
}

function showWaits(state: PodState, pod: Pod, waits: readonly WaitAction[]): void {
  const { name = '', namespace = '' } = pod.metadata ?? {}
  for (const { container, delayMs } of waits) {
    const message = crashLoopMessage(container.name, { name, namespace, uid: state.uid }, delayMs)
    if (state.waiting.get(container.name)?.message !== message) {
      const text = `Back-off restarting failed container ${container.name} in pod ${podTitle(pod)}`
      const fieldPath = fieldPathOf(pod, container.name)
      state.tell(pod, { type: 'Warning', reason: 'BackOff', message: text, fieldPath })
    }
    state.waiting.set(container.name, { reason: 'CrashLoopBackOff', message })
  }
}

function probe({ node, prober }: PodServices, state: PodState, pod: Pod, runtime: RuntimePod): void {
  for (const { id, phase } of runtime.containers) if (phase !== 'running') prober.remove(id)
  const podIP = (pod.spec?.hostNetwork ? node.hostIPs : runtime.sandboxes[0]?.ips)?.[0] ?? ''
  for (const container of [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])]) {
    if (!(container.livenessProbe ?? container.readinessProbe ?? container.startupProbe)) continue
    const live = runtime.containers.find(({ name, phase }) => name === container.name && phase === 'running')
    if (!live || state.hooks.has(live.id)) continue
    prober.add({ pod, container, containerId: live.id, podIP, startedAt: live.startedMs })
  }
}

/** What starts first in a new sandbox, as far as the spec tells. */
function firstToStart(pod: Pod): NonNullable<Pod['spec']>['containers'] {
  const [init] = pod.spec?.initContainers ?? []
  return init ? [init] : (pod.spec?.containers ?? [])
}

/** The grace that is left: time that passed before a restart of the kubelet counts. */
async function remainingGrace(
  { clock }: PodServices,
  state: PodState,
  pod: Pod,
  request: EndRequest,
  runtime: RuntimePod,
): Promise<number> {
  const own = podGrace(pod, runtime)
  const graceSeconds = Math.max(1, Math.min(request.graceSeconds ?? own, own))
  const { terminating } = await state.journal()
  if (terminating) {
    const left = Math.max(1, terminating.graceSeconds - (clock.now() - terminating.sinceMs) / 1000)
    if (graceSeconds >= left) return left
  }
  if (isAlive(runtime)) await state.remember({ terminating: { sinceMs: clock.now(), graceSeconds } })
  return graceSeconds
}
