// The API server of a cluster of equal Services, a process of its own: what it costs is not the proxy's, what its answers cost is.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createKubeClient } from '@nodelet/kube-client'
import type { KubeClient } from '@nodelet/kube-client'
import type { Size } from './cluster.ts'

/** Endpoints that change one after the other at once: from the first Service on, with addresses from this number on. */
export interface Change {
  /** Of the first Service. */
  index: number
  count: number
  unused: number
}

export interface Api extends AsyncDisposable {
  client: KubeClient
  /** Tells the proxy. */
  change(change: Change): void
}

export async function openApi(size: Size): Promise<Api> {
  const child = fork(join(import.meta.dirname, 'api-server.ts'), [JSON.stringify(size)], { execArgv: process.execArgv })
  const [port] = (await once(child, 'message')) as [number]
  const client = createKubeClient({ server: `http://127.0.0.1:${port}` })
  return {
    client,
    change: (change) => void child.send(change),
    async [Symbol.asyncDispose]() {
      await client.close()
      child.kill('SIGKILL')
      await once(child, 'close')
    },
  }
}
