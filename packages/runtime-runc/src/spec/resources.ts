// Limits and the cgroup that carries them.
import type { ContainerConfig, LinuxContainerResources } from '@nodelet/cri-api'
import { SpecError } from './errors.ts'
import type { ContainerFacts, HostFacts } from './facts.ts'
import type { OciDevice, OciDeviceRule, OciResources } from './oci.ts'

/**
 * Translates CRI limits; zero is unset, a quota of −1 is no limit. Limits of huge pages are left out where the kernel
 * has none.
 *
 * @throws SpecError for keys of cgroup v2 on version 1.
 */
export function buildResources(
  resources: LinuxContainerResources | undefined,
  devices: OciDeviceRule[],
  host: Pick<HostFacts, 'swapLimit' | 'hugetlb' | 'cgroupVersion'>,
): OciResources {
  if (!resources) return { devices }
  const unified = Object.keys(resources.unified)
  if (unified.length > 0 && host.cgroupVersion === 1) {
    throw new SpecError(`resources ${unified.join(', ')} are of cgroup v2: this machine has version 1; leave them out`)
  }
  const limit = Number(resources.memoryLimitInBytes)
  // A limit without a word on swap means no swapping, where the kernel can count it.
  const swap = Number(resources.memorySwapLimitInBytes) || (limit > 0 && host.swapLimit ? limit : 0)
  const cpu = {
    ...(resources.cpuShares ? { shares: Number(resources.cpuShares) } : {}),
    ...(resources.cpuQuota ? { quota: Number(resources.cpuQuota) } : {}),
    ...(resources.cpuPeriod ? { period: Number(resources.cpuPeriod) } : {}),
    ...(resources.cpusetCpus ? { cpus: resources.cpusetCpus } : {}),
    ...(resources.cpusetMems ? { mems: resources.cpusetMems } : {}),
  }
  const memory = { ...(limit ? { limit } : {}), ...(swap ? { swap } : {}) }
  return {
    devices,
    ...(Object.keys(memory).length > 0 ? { memory } : {}),
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...(resources.hugepageLimits.length > 0 && host.hugetlb
      ? { hugepageLimits: resources.hugepageLimits.map((h) => ({ pageSize: h.pageSize, limit: Number(h.limit) })) }
      : {}),
    ...(unified.length > 0 ? { unified: resources.unified } : {}),
  }
}

/**
 * The device nodes to make and who may use them. runc itself adds the standard ones and their rules.
 *
 * @throws SpecError for a device that is not on the host, or permissions outside `rwm`.
 */
export function buildDevices(
  config: Pick<ContainerConfig, 'devices'>,
  { privileged, withoutHostDevices }: { privileged: boolean; withoutHostDevices: boolean },
  facts: Pick<ContainerFacts, 'devices' | 'hostDevices' | 'deviceOwner'>,
): { devices: OciDevice[]; rules: OciDeviceRule[] } {
  const everything = privileged && !withoutHostDevices
  const rules: OciDeviceRule[] = [{ allow: everything, access: 'rwm' }]
  const devices = new Map((everything ? facts.hostDevices : []).map((node) => [node.path, node]))
  for (const { hostPath, containerPath, permissions } of config.devices) {
    const found = facts.devices[hostPath] ?? []
    if (found.length === 0) throw new SpecError(`device ${hostPath} is not a device on this node`)
    const access = permissions || 'rwm'
    if (!/^[rwm]+$/.test(access))
      throw new SpecError(`device ${hostPath}: permissions "${permissions}" are not among rwm`)
    for (const node of found) {
      const path = (containerPath || hostPath) + node.path.slice(hostPath.length)
      devices.set(path, { ...node, ...facts.deviceOwner, path })
      if (!everything) rules.push({ allow: true, type: node.type, major: node.major, minor: node.minor, access })
    }
  }
  return { devices: [...devices.values()], rules }
}
