// All controllers, on one client and one set of caches.
import type { KubeClient } from '@nodelet/kube-client'
import type { Logger } from '../log.ts'
import type { KeyPair } from '../pki.ts'
import { openCaches } from './caches.ts'
import { startCertificates } from './certificates.ts'
import { startDeployments } from './deployment.ts'
import { startEndpointSlices } from './endpoint-slice.ts'
import { startProtection } from './protection.ts'
import { startReplicaSets } from './replica-set.ts'
import { startScheduler } from './scheduler.ts'

export async function startControllers({
  client,
  ca,
  log,
}: {
  client: KubeClient
  /** Signs what is asked of the cluster's signers. */
  ca: KeyPair
  log?: Logger
}): Promise<AsyncDisposable> {
  const running = new AsyncDisposableStack()
  const caches = running.use(await openCaches(client, log))
  for (const start of [startScheduler, startEndpointSlices, startReplicaSets, startDeployments, startProtection]) {
    running.use(start({ client, caches, log }))
  }
  running.use(startCertificates({ client, caches, ca, log }))
  return running
}
