// Local volumes that are devices with files: mounted once on the node, as long as a pod has them.
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type MountInfo, mountSlowly, readMountInfo, unmountSlowly } from '@nodelet/linux'
import type { Logger } from '../log.ts'
import { createTurns } from '../serial.ts'
import type { LocalPlan } from '../volume/plan.ts'
import { namesIn, removeEmpty } from '../volume/mounts.ts'
import { mountAt } from './bind.ts'
import { formatAndMount } from './format.ts'

export interface LocalDisks {
  /**
   * Mounts the device unless it is, and does work while it stays so. Safe to run again, and after a kill at any step.
   * @param work is given where it is mounted, and has it mounted for a pod
   * @throws DeviceMountError, LinuxError, Error; what `work` throws
   */
  use<T>(plan: LocalPlan, work: (path: string) => Promise<T>): Promise<T>
  /** Unmounts what no pod has, by what is really mounted. @throws an error of one that stays, after all were tried */
  releaseUnused(): Promise<void>
}

/** @param rootDir the kubelet's folder, without symlinks */
export function createLocalDisks(rootDir: string, log: Logger): LocalDisks {
  const folder = join(rootDir, 'plugins/kubernetes.io/local-volume/mounts')
  const turns = createTurns()

  const release = async (name: string): Promise<void> => {
    const path = join(folder, name)
    for (let mount = await mountAt(path); mount; mount = await mountAt(path)) {
      if (await isUsed(mount, rootDir)) return
      if (!(await unmountSlowly(path))) throw new Error(`${path} is mounted, but cannot be unmounted from here`)
    }
    await removeEmpty(path) // what is not mounted and has files stays
  }

  return {
    use: async (plan, work) =>
      turns.take([plan.specName], async () => {
        const path = join(folder, plan.specName)
        await ensureMounted(plan, path, log)
        return work(path)
      }),
    async releaseUnused() {
      const names = await namesIn(folder)
      const results = await Promise.allSettled(names.map(async (name) => turns.take([name], async () => release(name))))
      const failed = results.find((result) => result.status === 'rejected')
      if (failed) throw failed.reason
    },
  }
}

async function ensureMounted(plan: LocalPlan, target: string, log: Logger): Promise<void> {
  const { path: device, fsType, readOnly, mountOptions } = plan
  const mount = await mountAt(target)
  if (!mount) {
    await mkdir(target, { recursive: true, mode: 0o750 })
    const options = [...mountOptions, ...(readOnly ? ['ro'] : [])]
    try {
      await formatAndMount({ device, target, fsType, options, log })
    } catch (error) {
      await removeEmpty(target)
      throw error
    }
    return
  }
  if (!(await isOf(mount, device))) throw new Error(`${target} is mounted, and not from ${device}`)
  if (readOnly || !mount.superOptions.includes('ro')) return
  // It was mounted for a pod that only reads, whose own bind stays read-only.
  await mountSlowly({ source: device, target, options: [...mountOptions, 'remount'] })
}

async function isOf({ major, minor }: MountInfo, device: string): Promise<boolean> {
  const { rdev } = await stat(device)
  return major === ((rdev >> 8) & 0xfff) && minor === ((rdev & 0xff) | ((rdev >> 12) & 0xfff00))
}

/** Whether a pod has it, or a part of it. */
async function isUsed(mount: MountInfo, rootDir: string): Promise<boolean> {
  const pods = join(rootDir, 'pods')
  const mounts = await readMountInfo('self', { below: pods })
  return mounts.some(({ major, minor }) => major === mount.major && minor === mount.minor)
}
