// What of newer Kubernetes this node can do, by the names of v1.36: told in its status, and asked for by pods. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { KubeletConfiguration } from '../configuration/types.ts'
import type { RestartableContainer } from '../pod/restart.ts'

const restartAll = 'RestartAllContainersOnContainerExits'

type Settings = Pick<KubeletConfiguration, 'cgroupsPerQOS' | 'cpuManagerPolicy' | 'featureGates'>

/** Feature → whether a node with such a configuration has it. What upstream declares beside these is not done here. */
const features: Readonly<Record<string, (settings: Settings) => boolean>> = {
  // Containers that have CPUs for themselves keep as many.
  GuaranteedQoSPodCPUResize: ({ cpuManagerPolicy }) => cpuManagerPolicy === 'none',
  // By the pod's cgroup.
  InPlacePodLevelResourcesVerticalScaling: ({ cgroupsPerQOS }) => cgroupsPerQOS,
  [restartAll]: () => true,
}

/** Sorted, as the status has them; undefined: the node does not tell, and no pod is judged by it. */
export function declaredFeatures(settings: Settings): string[] | undefined {
  const { featureGates: gates } = settings
  if (gates['NodeDeclaredFeatures'] === false) return undefined
  const had = Object.entries(features).filter(([name, has]) => has(settings) && gates[name] !== false)
  return had.map(([name]) => name).toSorted()
}

/** What a new pod needs of them that is not there. Others are needed by changes of pods alone. */
export function missingFeatures({ spec }: Pod, declared: readonly string[]): string[] {
  const containers: RestartableContainer[] = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])]
  const restartsAll = containers.some(({ restartPolicyRules: rules = [] }) =>
    rules.some(({ action }) => action === 'RestartAllContainers'),
  )
  return restartsAll && !declared.includes(restartAll) ? [restartAll] : []
}
