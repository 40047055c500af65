// The cgroups above the containers where systemd makes cgroups: slices, by systemd's own program, which is its interface.
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Cgroups, cpuWeight, startProgram } from '@nodelet/linux'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { burstableShares, type CgroupDriver, type CgroupDriverOptions } from './cgroup-driver.ts'
import { defaultCfsQuota } from './container-resources.ts'
import { podQuantity, type PodResources, podResources } from './pod-resources.ts'
import { qosClass } from './qos.ts'
import { sliceName, slicePath } from './slices.ts'

/** Runs systemctl. @throws Error with what it said */
export type Systemctl = (...args: string[]) => Promise<void>

type Limits = Omit<PodResources, 'hugePages'> & { pids?: number | undefined }

/** As `systemctl set-property` takes them. Pure. */
export function sliceProperties(
  { cpuShares, cpuQuotaUs, cpuPeriodUs, memoryBytes = -1, pids }: Limits,
  version: 1 | 2,
): string[] {
  const period = cpuPeriodUs ?? 100_000
  const percent = cpuQuotaUs === undefined ? '' : `${Math.ceil((cpuQuotaUs / period) * 10_000) / 100}%`
  return [
    version === 2 ? `CPUWeight=${cpuWeight(cpuShares)}` : `CPUShares=${cpuShares}`,
    `CPUQuota=${percent}`,
    ...(cpuQuotaUs === undefined ? [] : [`CPUQuotaPeriodSec=${period}us`]),
    `MemoryMax=${memoryBytes < 0 ? 'infinity' : memoryBytes}`,
    `TasksMax=${pids === undefined || pids < 0 ? 'infinity' : pids}`,
  ]
}

const classes = ['Guaranteed', 'Burstable', 'BestEffort'] as const
/** Where systemd keeps what was set until the next boot. */
const controlFolder = '/run/systemd/system.control'

/** @throws Error when this machine does not run systemd */
export function createSystemdDriver(
  cgroups: Pick<Cgroups, 'version' | 'create' | 'exists' | 'kill' | 'children'>,
  {
    cgroupRoot = '',
    podPidsLimit = -1,
    quota = defaultCfsQuota,
    pageSizes = [],
    systemctl = runSystemctl,
  }: CgroupDriverOptions & { systemctl?: Systemctl } = {},
): CgroupDriver {
  if (!existsSync('/run/systemd/system')) {
    throw new Error('cgroup driver systemd: this machine does not run systemd; use cgroupfs')
  }
  const { version } = cgroups
  const set = async (name: string, limits: Limits): Promise<void> => {
    await systemctl('start', name)
    await systemctl('set-property', '--runtime', name, ...sliceProperties(limits, version))
  }
  const burstable = burstableShares(async (shares) => set(sliceName(cgroupRoot, 'Burstable'), { cpuShares: shares }))
  return {
    version,
    async start({ milliCpu, memoryBytes, pids }) {
      const cpuShares = Math.max(2, Number((milliCpu * 1024n) / 1000n))
      await set(sliceName(cgroupRoot), {
        cpuShares,
        ...(memoryBytes !== undefined && { memoryBytes: Number(memoryBytes) }),
        ...(pids !== undefined && { pids: Number(pids) }),
      })
      // What pods that run already have stays until they are seen.
      const tier = sliceName(cgroupRoot, 'Burstable')
      if (!(await cgroups.exists(slicePath(tier)))) await set(tier, { cpuShares: 2 })
      await set(sliceName(cgroupRoot, 'BestEffort'), { cpuShares: 2 })
    },
    async create(pod: Pod, limits = podResources(pod, quota, pageSizes)) {
      const qos = qosClass(pod)
      const uid = pod.metadata?.uid ?? ''
      if (qos === 'Burstable') await burstable.set(uid, podQuantity(pod, 'requests', 'cpu'))
      const name = sliceName(cgroupRoot, qos, uid)
      await set(name, { ...limits, ...(podPidsLimit > 0 && { pids: podPidsLimit }) })
      // systemd knows nothing of huge pages.
      const { hugePages } = limits
      if (hugePages && Object.keys(hugePages).length > 0) await cgroups.create(slicePath(name), { hugePages })
      return name
    },
    async remove(podUid) {
      for (const qos of classes) {
        const name = sliceName(cgroupRoot, qos, podUid)
        const path = slicePath(name)
        if (await cgroups.exists(path)) {
          await cgroups.kill(path)
          await systemctl('stop', name)
        }
        await rm(join(controlFolder, `${name}.d`), { recursive: true, force: true })
      }
      await burstable.set(podUid, 0n)
    },
    async list() {
      const tiers = classes.map((qos) => sliceName(cgroupRoot, qos))
      const names = await Promise.all(tiers.map(async (tier) => cgroups.children(slicePath(tier))))
      return names.flat().flatMap((name) => {
        const [, uid] = /-pod([^-]+)\.slice$/.exec(name) ?? []
        return uid === undefined ? [] : [uid.replaceAll('_', '-')]
      })
    },
  }
}

async function runSystemctl(...args: string[]): Promise<void> {
  const options = { stdio: ['ignore', 'ignore', 'pipe'] as const }
  const program = startProgram('systemctl', ['--no-ask-password', '--no-pager', ...args], options)
  const told = (await program.stderr?.toArray()) ?? []
  const { code } = await program.ended
  if (code !== 0) throw new Error(`systemctl ${args.join(' ')}: exit code ${code}: ${told.join('').trim()}`)
}
