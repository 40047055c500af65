// Pods that use more local storage than their own limits allow. Pure.
import type { Container, Pod } from 'kubernetes-types/core/v1.d.ts'
import { isSidecar } from '../pod/actions.ts'
import { parseQuantity } from '../quantity.ts'
import { podQuantity } from '../resource/pod-resources.ts'
import { storageOf } from './ranking.ts'
import { amountText } from './signals.ts'
import type { PodUsage } from './usage.ts'

const storage = 'ephemeral-storage'

const containersOf = ({ spec }: Pod): Container[] => [
  ...(spec?.initContainers ?? []).filter(isSidecar),
  ...(spec?.containers ?? []),
]
const limitOf = ({ resources }: Container): string | undefined => resources?.limits?.[storage]

/** Whether it has such limits at all: of others nothing need be measured. */
export function hasLocalLimits(pod: Pod): boolean {
  return (
    (pod.spec?.volumes ?? []).some(({ emptyDir }) => emptyDir?.sizeLimit !== undefined) ||
    containersOf(pod).some((container) => limitOf(container) !== undefined)
  )
}

/**
 * The first limit that is exceeded, as the pod's status tells it; undefined when none is.
 * @param split images, and with them the writable layers of containers, have a file system of their own
 */
export function exceededLimit(pod: Pod, usage: PodUsage, split: boolean): string | undefined {
  for (const { name, emptyDir } of pod.spec?.volumes ?? []) {
    if (emptyDir?.sizeLimit === undefined) continue
    const limit = parseQuantity(emptyDir.sizeLimit, `volume ${name}: sizeLimit`)
    if (limit > 0n && (usage.volumes.get(name)?.bytes ?? 0n) > limit) {
      return `Usage of EmptyDir volume "${name}" exceeds the limit "${emptyDir.sizeLimit}". `
    }
  }
  const parts = { rootfs: !split, logs: true, volumes: true }
  if (containersOf(pod).some((container) => limitOf(container) !== undefined)) {
    const limit = podQuantity(pod, 'limits', storage) / 1000n
    if (storageOf(usage, parts).bytes > limit) {
      return `Pod ephemeral local storage usage exceeds the total limit of containers ${amountText(limit, storage)}. `
    }
  }
  for (const container of containersOf(pod)) {
    const limit = limitOf(container)
    const own = usage.containers.get(container.name)
    if (limit === undefined || !own) continue
    const used = own.logs.bytes + (split ? 0n : own.rootfs.bytes)
    if (used > parseQuantity(limit, `container ${container.name}: limits.${storage}`)) {
      return `Container ${container.name} exceeded its local ephemeral storage limit "${limit}". `
    }
  }
  return undefined
}
