// The cgroups above the containers: kubepods, one per class of service, one per pod.
import type { Cgroups } from '@nodelet/linux'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { type CfsQuota, defaultCfsQuota } from './container-resources.ts'
import { type PodResources, podResources } from './pod-resources.ts'
import { podCgroupPath, qosClass } from './qos.ts'

/** Makes, finds and removes the cgroups of pods. */
export interface CgroupDriver {
  readonly version: 1 | 2
  /** Makes the tree above the pods. */
  start(node: { milliCpu: bigint; memoryBytes: bigint }): Promise<void>
  /**
   * Makes the pod's cgroup, or brings its limits up to date; answers what CRI calls cgroup_parent.
   * @param limits default: those that follow from the pod's spec
   */
  create(pod: Pod, limits?: PodResources): Promise<string>
  /** Kills what is left in it, and removes it. Fine when there is none. */
  remove(podUid: string): Promise<void>
  /** UIDs of the pods that have a cgroup. */
  list(): Promise<string[]>
}

const tiers = ['', '/burstable', '/besteffort']

/** The default driver: files of the cgroup file system, names as the Go kubelet's cgroupfs driver. */
export function createCgroupDriver(
  cgroups: Pick<Cgroups, 'version' | 'create' | 'exists' | 'kill' | 'remove' | 'children'>,
  {
    cgroupRoot = '',
    podPidsLimit = -1,
    quota = defaultCfsQuota,
  }: { cgroupRoot?: string; podPidsLimit?: number; quota?: CfsQuota } = {},
): CgroupDriver {
  const top = `${cgroupRoot.replace(/\/+$/, '')}/kubepods`
  return {
    version: cgroups.version,
    async start({ milliCpu, memoryBytes }) {
      const cpuShares = Math.max(2, Number((milliCpu * 1024n) / 1000n))
      await cgroups.create(top, { cpuShares, memoryBytes: Number(memoryBytes) })
      await cgroups.create(`${top}/burstable`, { cpuShares: 2 })
      await cgroups.create(`${top}/besteffort`, { cpuShares: 2 })
    },
    async create(pod, limits = podResources(pod, quota)) {
      const path = podCgroupPath(pod, qosClass(pod), cgroupRoot)
      await cgroups.create(path, { ...limits, ...(podPidsLimit > 0 && { pids: podPidsLimit }) })
      return path
    },
    async remove(podUid) {
      for (const tier of tiers) {
        const path = `${top}${tier}/pod${podUid}`
        if (!(await cgroups.exists(path))) continue
        await cgroups.kill(path)
        await cgroups.remove(path)
      }
    },
    async list() {
      const names = await Promise.all(tiers.map(async (tier) => cgroups.children(top + tier)))
      return names.flat().flatMap((name) => (name.startsWith('pod') ? [name.slice(3)] : []))
    },
  }
}
