// The cgroups above the containers: kubepods, one per class of service, one per pod.
import type { Cgroups } from '@nodelet/linux'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { type CfsQuota, cpuShares, defaultCfsQuota } from './container-resources.ts'
import { podQuantity, type PodResources, podResources } from './pod-resources.ts'
import { podCgroupPath, qosClass } from './qos.ts'

/** Makes, finds and removes the cgroups of pods. */
export interface CgroupDriver {
  readonly version: 1 | 2
  /**
   * Makes the tree above the pods.
   * @param node `memoryBytes` undefined: pods may have all that there is
   */
  start(node: { milliCpu: bigint; memoryBytes: bigint | undefined; pids?: bigint | undefined }): Promise<void>
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

export interface CgroupDriverOptions {
  /** KubeletConfiguration `cgroupRoot` and `podPidsLimit`. */
  cgroupRoot?: string
  podPidsLimit?: number
  quota?: CfsQuota
  /** Of huge pages, those that the node has, such as `2Mi`. */
  pageSizes?: readonly string[]
}

const tiers = ['', '/burstable', '/besteffort']

/** The default driver: files of the cgroup file system, names as the Go kubelet's cgroupfs driver. */
export function createCgroupDriver(
  cgroups: Pick<Cgroups, 'version' | 'create' | 'exists' | 'kill' | 'remove' | 'children'>,
  { cgroupRoot = '', podPidsLimit = -1, quota = defaultCfsQuota, pageSizes = [] }: CgroupDriverOptions = {},
): CgroupDriver {
  const top = `${cgroupRoot.replace(/\/+$/, '')}/kubepods`
  const burstable = burstableShares(async (shares) => cgroups.create(`${top}/burstable`, { cpuShares: shares }))
  return {
    version: cgroups.version,
    async start({ milliCpu, memoryBytes = -1n, pids }) {
      const limits = { cpuShares: Number(cpuShares(milliCpu)), memoryBytes: Number(memoryBytes) }
      await cgroups.create(top, { ...limits, ...(pids !== undefined && { pids: Number(pids) }) })
      // What pods that run already have stays until they are seen.
      if (!(await cgroups.exists(`${top}/burstable`))) await cgroups.create(`${top}/burstable`, { cpuShares: 2 })
      await cgroups.create(`${top}/besteffort`, { cpuShares: 2 })
    },
    async create(pod, limits = podResources(pod, quota, pageSizes)) {
      const qos = qosClass(pod)
      const path = podCgroupPath(pod, qos, cgroupRoot)
      const uid = pod.metadata?.uid ?? ''
      if (qos === 'Burstable') await burstable.set(uid, podQuantity(pod, 'requests', 'cpu'))
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
      await burstable.set(podUid, 0n)
    },
    async list() {
      const names = await Promise.all(tiers.map(async (tier) => cgroups.children(top + tier)))
      return names.flat().flatMap((name) => (name.startsWith('pod') ? [name.slice(3)] : []))
    },
  }
}

/** Keeps the shares of the burstable pods together at the sum of what they ask for. */
export function burstableShares(write: (shares: number) => Promise<unknown>): {
  /** @param milliCpu what the pod asks for; 0 when it is gone */
  set(podUid: string, milliCpu: bigint): Promise<void>
} {
  const requests = new Map<string, bigint>()
  let total = 0n
  let written: bigint | undefined
  let writing: Promise<void> = Promise.resolve()
  return {
    async set(podUid, milliCpu) {
      total += milliCpu - (requests.get(podUid) ?? 0n)
      if (milliCpu === 0n) requests.delete(podUid)
      else requests.set(podUid, milliCpu)
      // One after the other, each with the newest sum; who asked for one that failed was told.
      writing = writing
        .catch(() => undefined)
        .then(async () => {
          const newest = total
          if (newest === written) return
          await write(Number(cpuShares(newest)))
          written = newest
        })
      await writing
    },
  }
}

/** `cgroupsPerQOS: false`: pods have no cgroups, and the runtime puts containers where it likes. */
export const noPodCgroups = (version: 1 | 2): CgroupDriver => ({
  version,
  start: async () => {},
  create: async () => '',
  remove: async () => {},
  list: async () => [],
})
