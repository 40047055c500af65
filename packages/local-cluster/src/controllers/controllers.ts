// All controllers, on one client and one set of caches.
import type { KubeClient } from '@nodelet/kube-client'
import type { Logger } from '../log.ts'
import type { KeyPair } from '../pki.ts'
import { openCaches } from './caches.ts'
import { startCertificates } from './certificates.ts'
import { startDeployments } from './deployment.ts'
import { startEndpointSlices } from './endpoint-slice.ts'
import type { FindDriver } from '../csi/drivers.ts'
import { startAttachDetach } from './volumes/attach-detach.ts'
import { startVolumeBinder } from './volumes/binder.ts'
import { startEphemeralClaims } from './volumes/ephemeral.ts'
import { startProtection } from './volumes/protection.ts'
import { startPodCertificateCleaner } from './pod-certificates.ts'
import { startReplicaSets } from './replica-set.ts'
import { startScheduler } from './scheduler.ts'

export async function startControllers({
  client,
  ca,
  drivers,
  log,
}: {
  client: KubeClient
  /** Signs what is asked of the cluster's signers. */
  ca: KeyPair
  /** Drivers that make, attach and enlarge volumes. Undefined: others do. */
  drivers?: FindDriver | undefined
  log?: Logger
}): Promise<AsyncDisposable> {
  const running = new AsyncDisposableStack()
  const caches = running.use(await openCaches(client, log))
  const starts = [
    startScheduler,
    startEndpointSlices,
    startReplicaSets,
    startDeployments,
    startVolumeBinder,
    startEphemeralClaims,
    startAttachDetach,
    startProtection,
  ]
  for (const start of starts) running.use(start({ client, caches, log }))
  running.use(startPodCertificateCleaner({ client, caches, log }))
  running.use(startCertificates({ client, caches, ca, log }))
  if (drivers) {
    // gRPC is not needed without.
    const { startCsi } = await import('../csi/csi.ts')
    running.use(startCsi({ client, caches, drivers, log }))
  }
  return running
}
