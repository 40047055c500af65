// Containers that run are moved to the CPUs that they may have now.
import { LinuxContainerResources } from '@nodelet/cri-api'
import type { RuntimePod } from './runtime-pod.ts'
import type { PodServices } from './services.ts'
import type { PodState } from './state.ts'

/** Nothing on a node that does not give out CPUs. */
export async function applyCpusets(
  { cpus, runtime: service }: Pick<PodServices, 'cpus' | 'runtime'>,
  state: PodState,
  runtime: RuntimePod,
): Promise<void> {
  for (const { id, name, phase } of runtime.containers) {
    const cpuset = cpus.cpusetOf(state.uid, name)
    if (phase !== 'running' || cpuset === undefined || state.cpusets.get(id) === cpuset) continue
    const linux = LinuxContainerResources.fromPartial({ cpusetCpus: cpuset })
    await service.updateContainerResources({ containerId: id, linux, annotations: {} })
    state.cpusets.set(id, cpuset)
  }
}
