// Work on the cgroups of pods, timed.
import type { CgroupDriver } from '../resource/cgroup-driver.ts'
import type { KubeletMetrics } from './kubelet-metrics.ts'

/** The same driver; what it answers and throws passes through. */
export function measuredCgroups(driver: CgroupDriver, { cgroupSeconds }: KubeletMetrics): CgroupDriver {
  const timed = async <T>(operation_type: string, run: () => Promise<T>): Promise<T> => {
    const took = cgroupSeconds.startTimer({ operation_type })
    return run().finally(took)
  }
  return {
    version: driver.version,
    start: async (node) => timed('create', async () => driver.start(node)),
    // One that is there already is brought up to date by the same call.
    create: async (pod, limits) => timed(limits ? 'update' : 'create', async () => driver.create(pod, limits)),
    remove: async (podUid) => timed('destroy', async () => driver.remove(podUid)),
    list: async () => driver.list(),
  }
}
