// The volume manager of a kubelet, with its work counted.
import type { PodCertificates } from '../certificate/pod-certificates.ts'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import type { ObjectSource } from '../objects.ts'
import type { PodManager } from '../pod/manager.ts'
import type { VolumeStorage } from '../storage/storage.ts'
import { createVolumeManager } from '../volume/manager.ts'
import type { VolumeManager } from '../volume/types.ts'
import type { VolumeWork } from '../volume/work.ts'

export interface KubeletVolumesOptions {
  rootDir: string
  nodeName: string
  objects: ObjectSource
  /** For volumes of claims and drivers. */
  storage: VolumeStorage
  metrics: Pick<KubeletMetrics, 'storageSeconds' | 'volumeTotalSeconds' | 'orphanVolumes' | 'forceCleanedVolumes'>
  /** For sources of kind `podCertificate`; default: they are refused. */
  certificates?: PodCertificates | undefined
  events: Pick<EventRecorder, 'record'>
  /** Asked when there is something to tell: it is made after the volumes. */
  manager(): Pick<PodManager, 'get'>
  log: Logger
}

/** `storage_operation_duration_seconds` */
export const countWork =
  ({ storageSeconds }: Pick<KubeletMetrics, 'storageSeconds'>) =>
  ({ plugin, operation, migrated, success, seconds }: VolumeWork): void => {
    const status = success ? 'success' : 'fail-unknown'
    const labels = { volume_plugin: plugin, operation_name: operation, status, migrated: String(migrated) }
    storageSeconds.observe(labels, seconds)
  }

export const createKubeletVolumes = ({
  rootDir,
  nodeName,
  objects,
  storage,
  metrics,
  certificates,
  events,
  manager,
  log,
}: KubeletVolumesOptions): VolumeManager =>
  createVolumeManager({
    rootDir,
    nodeName,
    objects,
    storage,
    certificates,
    tell(pod, event) {
      // What a pod shows is often deleted with it.
      const now = manager().get(pod.metadata?.uid ?? '')
      if (now && !now.metadata?.deletionTimestamp) events.record(now, event)
    },
    worked: countWork(metrics),
    mounted: (plugin_name, seconds) =>
      metrics.volumeTotalSeconds.observe({ plugin_name, operation_name: 'overall_volume_mount' }, seconds),
    swept(removed, failed) {
      metrics.orphanVolumes.cleaned.set(removed)
      metrics.orphanVolumes.failed.set(failed)
    },
    forced(success) {
      metrics.forceCleanedVolumes[success ? 'all' : 'failed'].inc()
    },
    log,
  })
