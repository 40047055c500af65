// Pods, containers and volumes as they are, counted when somebody looks.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { PodCertificates } from '../certificate/pod-certificates.ts'
import { isStatic } from '../pod/labels.ts'
import type { RuntimePod } from '../pod/runtime-pod.ts'
import type { WorkerPhase } from '../pod/worker.ts'
import type { KubeletMetrics } from './kubelet-metrics.ts'
import { countUnderWay } from './resize-metrics.ts'

/** A pod, how far its life has come, and what the runtime has of it. */
export interface CountedPod {
  pod: Pod
  phase: WorkerPhase
  wanted: boolean
  runtime: RuntimePod | undefined
}

/** What only other parts of a kubelet know. */
export interface CountFacts {
  /** With their newest status. */
  statuses(): readonly Pod[]
  hasMirror(pod: Pod): boolean
  volumes(): readonly { plugin: string; ready: boolean }[]
  certificates(): ReturnType<PodCertificates['states']>
  /** CPUs that the container has alone. */
  exclusiveCpus(podUid: string, container: string): number
  /** NUMA node → how many of its CPUs one container has alone. */
  exclusivePerNode(): ReadonlyMap<number, number>
  /** CPUs that containers can have alone; 0: none ever has. */
  shareableCpus: number
}

const lifecycles: Readonly<Record<WorkerPhase, string>> = {
  syncing: 'sync',
  terminating: 'terminating',
  terminated: 'terminated',
}

export function countPods(metrics: KubeletMetrics, pods: readonly CountedPod[], facts: CountFacts): void {
  const { runningContainers, desiredPods, activePods, workingPods } = metrics
  for (const one of [runningContainers, desiredPods, activePods, workingPods]) one.reset()
  let [running, mirrors, ephemeral, exclusive] = [0, 0, 0, 0]
  for (const container_state of ['created', 'running', 'exited', 'unknown'])
    runningContainers.set({ container_state }, 0)
  for (const { pod, phase, wanted, runtime } of pods) {
    const kind = isStatic(pod) ? 'true' : ''
    if (wanted) desiredPods.inc({ static: kind })
    if (phase !== 'terminated') activePods.inc({ static: kind })
    workingPods.inc({ lifecycle: lifecycles[phase], config: wanted ? 'desired' : 'orphan', static: kind })
    if (isStatic(pod) && facts.hasMirror(pod)) mirrors++
    ephemeral += pod.spec?.ephemeralContainers?.length ?? 0
    for (const { name } of pod.spec?.containers ?? []) exclusive += facts.exclusiveCpus(pod.metadata?.uid ?? '', name)
    if (runtime?.sandboxes.some(({ ready }) => ready)) running++
    for (const container of runtime?.containers ?? []) runningContainers.inc({ container_state: container.phase })
  }
  metrics.runningPods.set(running)
  metrics.mirrorPods.set(mirrors)
  metrics.ephemeralContainers.set(ephemeral)
  metrics.exclusiveCpus.set(exclusive)
  metrics.sharedMilliCpus.set(Math.max(0, facts.shareableCpus - exclusive) * 1000)
  for (const [node, count] of facts.exclusivePerNode()) metrics.exclusivePerNode.set({ numa_node: String(node) }, count)
  countUnderWay(metrics, facts.statuses())
  countVolumes(metrics, facts.volumes())
  metrics.certificates.reset()
  for (const { signerName, state } of facts.certificates()) metrics.certificates.inc({ signer_name: signerName, state })
}

function countVolumes({ volumes }: KubeletMetrics, all: ReturnType<CountFacts['volumes']>): void {
  volumes.reset()
  for (const { plugin: plugin_name, ready } of all) {
    volumes.inc({ plugin_name, state: 'desired_state_of_world' })
    if (ready) volumes.inc({ plugin_name, state: 'actual_state_of_world' })
  }
}
