// CSI drivers, claims and attachments, over the parts of a kubelet.
import { realpath } from 'node:fs/promises'
import { createCsiDrivers, createCsiVolumes } from '@nodelet/csi-node'
import type { KubeClient } from '@nodelet/kube-client'
import type { Node, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { KubeletConfiguration } from '../configuration/kubelet-configuration.ts'
import { parseDuration } from '../duration.ts'
import type { EventRecorder } from '../events.ts'
import type { Logger } from '../log.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'
import type { ObjectSource } from '../objects.ts'
import type { PluginHandler } from '../plugins/registration.ts'
import { createAllocatable } from '../storage/allocatable.ts'
import { createAttachments } from '../storage/attach.ts'
import { createCsiNodeKeeper, type CsiNodeKeeper } from '../storage/csi-node-keeper.ts'
import { csiPlugins } from '../storage/csi-plugins.ts'
import { createVolumeExpander } from '../storage/expander.ts'
import { createVolumeMeter } from '../storage/meter.ts'
import { createNodeDisks } from '../storage/node-disks.ts'
import { createStorageObjects, noStorageObjects } from '../storage/objects.ts'
import { readFileLabel } from '../storage/selinux.ts'
import type { VolumeStorage } from '../storage/storage.ts'
import { findVolumes } from '../volume/found.ts'
import { ownershipEvent } from '../volume/ownership.ts'
import { secretData } from '../volume/payload.ts'
import { countWork } from './volumes.ts'

export interface KubeletStorageOptions {
  rootDir: string
  nodeName: string
  /** None: there are no claims, and no drivers are told of. */
  client: KubeClient | undefined
  configuration: Pick<
    KubeletConfiguration,
    'volumeStatsAggPeriod' | 'syncFrequency' | 'featureGates' | 'enableControllerAttachDetach'
  >
  objects: Pick<ObjectSource, 'token'>
  node(): Node | undefined
  /** What the node tells of itself is another: volumes in use, whether it is ready. */
  nodeTells(): void
  /** The kubelet cannot go on. */
  failed(error: Error): void
  /** What waited for a driver may go on. */
  driverCame(): void
  events: EventRecorder
  metrics: Pick<KubeletMetrics, 'csiSeconds' | 'storageSeconds' | 'volumeStatsSeconds' | 'reconstructedVolumes'>
  clock: Clock
  log: Logger
}

export interface KubeletStorage extends AsyncDisposable {
  volumes: VolumeStorage
  /** Of plugins of type `CSIPlugin`. */
  plugins: PluginHandler
  /** Undefined without an API server. */
  keeper: CsiNodeKeeper | undefined
}

/** Seconds that a token of a driver's wish lives when it does not say. */
const usualTokenSeconds = 3600

/** @throws Error when what is mounted cannot be read from the disk */
export async function openStorage(options: KubeletStorageOptions): Promise<KubeletStorage> {
  const { rootDir, nodeName, client, configuration, node, nodeTells, driverCame, events, metrics, clock, log } = options
  const objects = client ? createStorageObjects(client) : noStorageObjects
  const drivers = createCsiDrivers({
    log,
    observed: ({ driver, method, code, migrated, seconds }) =>
      metrics.csiSeconds.observe(
        { driver_name: driver, method_name: method, grpc_status_code: code, migrated: String(migrated) },
        seconds,
      ),
  })
  const worked = countWork(metrics)
  const csi = await createCsiVolumes({
    rootDir,
    nodeName,
    drivers,
    objects: {
      async secret({ namespace, name }, signal) {
        const secret = await objects.secret(namespace, name, signal)
        if (!secret) throw new Error(`secrets "${name}" not found`)
        return Object.fromEntries([...secretData(secret)].map(([key, bytes]) => [key, bytes.toString()]))
      },
      async token({ uid, name, namespace, serviceAccountName }, { audience, expirationSeconds }, signal) {
        const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name, uid }
        const audiences = audience === '' ? [] : [audience]
        const wish = { audiences, expirationSeconds: expirationSeconds ?? usualTokenSeconds, boundObjectRef }
        const { token, expirationTimestamp } = await options.objects.token(namespace, serviceAccountName, wish, signal)
        return { token, expirationTimestamp }
      },
    },
    ownershipProgress({ uid, name, namespace }, volume, count) {
      const pod: Pod = { metadata: { uid, name, namespace } }
      events.record(pod, ownershipEvent(volume, count))
    },
    worked: ({ driver, ...work }) => worked({ plugin: `kubernetes.io/csi:${driver}`, ...work }),
    clock,
    log,
  })
  const found = await findVolumes(rootDir, csi.published())
  metrics.reconstructedVolumes.all.inc(found.all)
  metrics.reconstructedVolumes.failed.inc(found.lost)
  const fileLabel = await readFileLabel()
  const mountsAll = configuration.featureGates['SELinuxMount'] ?? false
  const selinux = fileLabel === undefined ? undefined : { fileLabel, mountsAll }
  const disks = createNodeDisks(await realpath(rootDir), log)
  await disks.find()
  const attachments = createAttachments({
    nodeName,
    objects,
    node,
    inUse: () => [...csi.inUse(), ...disks.inUse()],
    changed: nodeTells,
    exhausted: (driver) => allocatable?.exhausted(driver),
    clock,
  })
  const keeper =
    client && createCsiNodeKeeper({ client, nodeName, ready: nodeTells, failed: options.failed, clock, log })
  const allocatable = client && keeper && createAllocatable({ client, drivers, keeper, clock, log })
  const plugins = csiPlugins({
    drivers,
    keeper,
    came(driver) {
      csi.driverCame(driver)
      allocatable?.came(driver)
      driverCame()
    },
    gone: (driver) => allocatable?.gone(driver),
    log,
  })
  const tell: VolumeStorage['tell'] = (pod, event) => events.record(pod, event)
  const meter = createVolumeMeter({
    periodMs: parseDuration(configuration.volumeStatsAggPeriod),
    tellsHealth: configuration.featureGates['CSIVolumeHealth'] ?? false,
    tell,
    measured: (metric_source, seconds) => metrics.volumeStatsSeconds.observe({ metric_source }, seconds),
    clock,
    log,
  })
  const expander = createVolumeExpander({
    nodeName,
    objects,
    csi,
    tell,
    tellClaim: (claim, event) => events.recordClaim(claim, event),
    worked({ driver, migrated = false }, success, seconds) {
      const plugin = `kubernetes.io/csi:${driver}`
      worked({ plugin, operation: 'volume_fs_resize', migrated, success, seconds })
    },
    periodMs: parseDuration(configuration.syncFrequency),
    clock,
    log,
  })
  return {
    volumes: {
      objects,
      csi,
      attachments,
      isAttachedByController: client !== undefined && configuration.enableControllerAttachDetach,
      meter,
      expander,
      disks,
      selinux,
      node,
      tell,
      worked,
      clock,
    },
    plugins,
    keeper,
    async [Symbol.asyncDispose]() {
      meter.close()
      await allocatable?.[Symbol.asyncDispose]()
      await expander.close()
      await keeper?.[Symbol.asyncDispose]()
      await csi.close()
    },
  }
}
