// All controllers, on one client and one set of caches.
import type { KubeClient } from '@nodelet/kube-client'
import type { Logger } from '../log.ts'
import { openCaches } from './caches.ts'
import { startDeployments } from './deployment.ts'
import { startEndpointSlices } from './endpoint-slice.ts'
import { startReplicaSets } from './replica-set.ts'
import { startScheduler } from './scheduler.ts'

export async function startControllers({
  client,
  log,
}: {
  client: KubeClient
  log?: Logger
}): Promise<AsyncDisposable> {
  const running = new AsyncDisposableStack()
  const caches = running.use(await openCaches(client, log))
  for (const start of [startScheduler, startEndpointSlices, startReplicaSets, startDeployments]) {
    running.use(start({ client, caches, log }))
  }
  return running
}
