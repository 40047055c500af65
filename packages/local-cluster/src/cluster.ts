// A control plane for one machine: store, API server, controllers.
import { join } from 'node:path'
import { createKubeClient, loadKubeconfig } from '@nodelet/kube-client'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import { createApiServer } from './api/server.ts'
import { startControllers } from './controllers/controllers.ts'
import { createIdentity } from './identity.ts'
import { firstServiceIP } from './kinds/services.ts'
import { writeKubeconfig } from './kubeconfig.ts'
import { createKubeletProxy } from './kubelet-proxy.ts'
import type { FindDriver } from './csi/drivers.ts'
import type { Logger } from './log.ts'
import { openPki } from './pki.ts'
import { openStore } from './store.ts'

export interface ClusterOptions {
  /** Database, certificates and kubeconfigs. */
  dataDir: string
  /** Default `127.0.0.1`. */
  address?: string
  /** Default 6443. */
  port?: number
  /** Default `10.96.0.0/16`. */
  serviceCidr?: string
  /** The machine's node. */
  nodeName: string
  nodeIPs: string[]
  /** Finds CSI drivers that make, attach and enlarge volumes, for instance `driversIn`. Default: other programs do, as sidecars. */
  drivers?: FindDriver | undefined
  log?: Logger
}

export interface Cluster {
  url: string
  port: number
  /** Paths of kubeconfigs. */
  kubeconfigs: { admin: string; kubelet: string; proxy: string }
  /** For the kubelet's own server, PEM. */
  kubelet: { certificate: string; key: string; clientCa: string }
  close(): Promise<void>
}

const nodePorts = [30_000, 32_767] as const

/** Starts a cluster, or goes on with the one that the folder has. @throws Error when the port is taken */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const {
    dataDir,
    address = '127.0.0.1',
    port = 6443,
    serviceCidr = '10.96.0.0/16',
    nodeName,
    nodeIPs,
    drivers,
    log,
  } = options
  await using starting = new AsyncDisposableStack()
  const serviceIP = firstServiceIP(serviceCidr)
  const pki = await openPki({ folder: join(dataDir, 'pki'), nodeName, nodeIPs, serviceIP, address })
  const store = starting.use(openStore(join(dataDir, 'cluster.db')))
  const identity = createIdentity(store, pki.tokens)
  const connect = createKubeletProxy({
    nodeOf: (name) => store.get('nodes', '', name) as unknown as Node | undefined,
    clientCertificate: pki.kubeletClient.certificate,
    clientKey: pki.kubeletClient.key,
    ca: pki.ca.certificate,
  })
  const server = await createApiServer({
    store,
    certificate: pki.apiServer.certificate,
    key: pki.apiServer.key,
    clientCa: pki.ca.certificate,
    address,
    port,
    serviceCidr,
    nodePorts,
    authenticate: identity.authenticate,
    identity,
    connect,
    ...(log && { log }),
  })
  starting.defer(async () => server.close())
  const url = `https://${address.includes(':') ? `[${address}]` : address}:${server.port}`
  const kubeconfig = async (
    file: string,
    user: string,
    credentials: { certificate: string; key: string },
  ): Promise<string> => writeKubeconfig(join(dataDir, file), { server: url, ca: pki.ca.certificate, user, credentials })
  const kubeconfigs = {
    admin: await kubeconfig('admin.kubeconfig', 'kubernetes-admin', pki.admin),
    kubelet: await kubeconfig('kubelet.kubeconfig', `system:node:${nodeName}`, pki.kubelet),
    proxy: await kubeconfig('kube-proxy.kubeconfig', 'system:kube-proxy', pki.proxy),
  }
  const client = starting.use(createKubeClient(await loadKubeconfig(kubeconfigs.admin)))
  starting.use(await startControllers({ client, ca: pki.ca, drivers, ...(log && { log }) }))
  const running = starting.move()
  return {
    url,
    port: server.port,
    kubeconfigs,
    kubelet: { ...pki.kubeletServer, clientCa: pki.ca.certificate },
    close: async () => running.disposeAsync(),
  }
}
