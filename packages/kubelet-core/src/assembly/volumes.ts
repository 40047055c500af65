// The volume manager of a kubelet, with its work counted.
import type { Logger } from '../log.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import type { ObjectSource } from '../objects.ts'
import type { VolumeStorage } from '../storage/storage.ts'
import { createVolumeManager } from '../volume/manager.ts'
import type { VolumeManager } from '../volume/types.ts'

export interface KubeletVolumesOptions {
  rootDir: string
  nodeName: string
  objects: ObjectSource
  /** For volumes of claims and drivers. */
  storage: VolumeStorage
  metrics: Pick<KubeletMetrics, 'storageSeconds' | 'orphanVolumes'>
  log: Logger
}

export const createKubeletVolumes = ({
  rootDir,
  nodeName,
  objects,
  storage,
  metrics,
  log,
}: KubeletVolumesOptions): VolumeManager =>
  createVolumeManager({
    rootDir,
    nodeName,
    objects,
    storage,
    worked({ plugin, operation, success, seconds }) {
      const status = success ? 'success' : 'fail-unknown'
      const labels = { volume_plugin: plugin, operation_name: operation, status, migrated: 'false' }
      metrics.storageSeconds.observe(labels, seconds)
    },
    swept(removed, failed) {
      metrics.orphanVolumes.cleaned.set(removed)
      metrics.orphanVolumes.failed.set(failed)
    },
    log,
  })
