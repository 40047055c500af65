// All controllers, on one client.
import type { KubeClient } from '@nodelet/kube-client'
import type { Logger } from '../log.ts'
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
  await using starting = new AsyncDisposableStack()
  for (const start of [startScheduler, startEndpointSlices, startReplicaSets, startDeployments]) {
    starting.use(await start(client, log))
  }
  const running = starting.move()
  return { [Symbol.asyncDispose]: async () => running.disposeAsync() }
}
