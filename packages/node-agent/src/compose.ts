// Builds the node: the only file that imports every part.
import { access, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createCni, defaultNetwork, loadPlugins, standardPlugins } from '@nodelet/cni-plugins'
import type { Cni } from '@nodelet/cni-plugins'
import { createKubeClient, loadKubeconfig } from '@nodelet/kube-client'
import type { KubeClient } from '@nodelet/kube-client'
import { bootstrapClient, createKubelet } from '@nodelet/kubelet-core'
import type { Kubelet } from '@nodelet/kubelet-core'
import { driversIn, startCluster } from '@nodelet/local-cluster'
import type { Cluster } from '@nodelet/local-cluster'
import { keepKubeletRules } from '@nodelet/proxy-rules'
import type { KubeProxyConfiguration, Proxier } from '@nodelet/proxy-rules'
import { createStreamAdapters, openImages, openRuntime, openStreaming, serveRuntime } from '@nodelet/runtime-runc'
import type { Images, Runtime } from '@nodelet/runtime-runc'
import type { Logger } from 'pino'
import { foldersOf, imagesOptionsOf, readCredentialProviders, readKubeletConfig, readProxyConfig } from './config.ts'
import type { NodeConfig } from './config.ts'
import { ConfigError } from './errors.ts'
import type { Part } from './parts.ts'
import { claimFolder } from './kubelet-folder.ts'
import { defaultNodeIPs } from './machine.ts'
import { startNodeProxy } from './proxy.ts'

/** The name of the bridge that pods are on: ours alone, so that a reset can remove it. */
export const bridgeName = 'nodelet0'
const networkName = 'nodelet'

/** A running node. */
export interface NodeHandle extends AsyncDisposable {
  readonly config: NodeConfig
  readonly nodeIPs: readonly string[]
  readonly cluster: Cluster | undefined
  readonly client: KubeClient | undefined
  readonly runtime: Runtime | undefined
  readonly images: Images | undefined
  readonly kubelet: Kubelet | undefined
  readonly proxier: Proxier | undefined
  /** Stops deciding; containers keep running. The same as disposing. */
  close(): Promise<void>
}

export interface StartOptions {
  signal?: AbortSignal | undefined
  /** Whether this process does nothing else: a kubelet then limits it, and tells its service manager. Default false. */
  ownProcess?: boolean | undefined
  /** Told when the kubelet or the proxy cannot go on. */
  failed?: ((error: Error) => void) | undefined
}

/**
 * Starts the parts that the configuration names: the control plane and the runtime side by side, then the rest.
 * What was started is stopped again when a later part fails.
 */
export async function startNode(
  config: NodeConfig,
  log: Logger,
  { signal, ownProcess, failed }: StartOptions = {},
): Promise<NodeHandle> {
  await using starting = new AsyncDisposableStack()
  const folders = foldersOf(config)
  const runs = (part: Part): boolean => config.parts.includes(part)
  const nodeIPs = config.nodeIPs ?? defaultNodeIPs()
  await Promise.all([config.root, config.run].map((folder) => mkdir(folder, { recursive: true, mode: 0o711 })))
  // Others may have things there, which a reset leaves alone.
  if (config.kubeletDir !== undefined && runs('kubelet')) await claimFolder(config.root, config.kubeletDir)

  const [cluster, runtime] = await settled([
    runs('cluster') ? openCluster(config, nodeIPs, log, starting) : undefined,
    runs('runtime') ? openNodeRuntime(config, log, starting) : undefined,
  ])
  signal?.throwIfAborted()

  const { bootstrapKubeconfig, kubeconfig, nodeName } = config
  if (bootstrapKubeconfig && kubeconfig) {
    const certDir = join(folders.kubelet, 'pki')
    await bootstrapClient({
      bootstrapKubeconfig,
      kubeconfig,
      certDir,
      nodeName,
      signal,
      log: log.child({ part: 'kubelet' }),
    })
  }
  const connect = async (kubeconfig: string | undefined): Promise<KubeClient | undefined> =>
    kubeconfig === undefined ? undefined : starting.use(createKubeClient(await loadKubeconfig(kubeconfig)))
  const client = await connect(cluster?.kubeconfigs.kubelet ?? config.kubeconfig)

  let proxier: Proxier | undefined
  const proxyConfiguration = runs('proxy') ? await readProxyConfig(config) : undefined
  const startProxy = async (configuration: KubeProxyConfiguration): Promise<void> => {
    const own = configuration.clientConnection.kubeconfig
    const proxyClient = await connect(cluster?.kubeconfigs.proxy ?? (own || config.kubeconfig))
    if (!proxyClient)
      throw new ConfigError(
        `${config.proxyConfig}: clientConnection.kubeconfig: the proxy needs one, or this node does`,
      )
    proxier = await startNodeProxy({
      configuration,
      client: proxyClient,
      nodeName: configuration.hostnameOverride || config.nodeName,
      nodeIPs,
      madeWith: { ownProcess: ownProcess && !runs('kubelet'), ownClient: !cluster },
      failed,
      signal,
      log: log.child({ part: 'proxy' }),
    })
    starting.defer(async () => proxier?.close())
  }
  // One that goes by the Node waits for it, and the kubelet makes it.
  const waitsForNode = proxyConfiguration?.detectLocalMode === 'NodeCIDR'
  if (proxyConfiguration && !waitsForNode) await startProxy(proxyConfiguration)

  let kubelet: Kubelet | undefined
  if (runs('kubelet')) {
    const configuration = await readKubeletConfig(config)
    const { address = '0.0.0.0', port = config.kubeletPort } = configuration
    const listening = { address, port }
    await mkdir(configuration.staticPodPath || folders.manifests, { recursive: true })
    const kubeletLog = log.child({ part: 'kubelet' })
    kubelet = await createKubelet({
      nodeName: config.nodeName,
      nodeIPs,
      ...(client && { client }),
      // Without a runtime of this node it connects to that of its configuration.
      runtimeService: runtime?.runtime.runtimeService,
      imageService: runtime?.runtime.imageService,
      rootDir: folders.kubelet,
      configuration,
      imageCredentialProviders: await readCredentialProviders(config),
      ...(client && configuration.enableServer !== false && { server: { ...listening, ...cluster?.kubelet } }),
      // `reset` unmounts it.
      shareRoot: true,
      ownProcess,
      failed,
      utilChains: async () => keepKubeletRules({ log: kubeletLog }),
      log: kubeletLog,
      setLogLevel: (level) => {
        kubeletLog.level = level
      },
    })
    starting.defer(async () => kubelet?.close())
    await kubelet.start(signal)
  }
  if (proxyConfiguration && waitsForNode) await startProxy(proxyConfiguration)

  const running = starting.move()
  const close = async (): Promise<void> => running.disposeAsync()
  return {
    config,
    nodeIPs,
    cluster,
    client,
    runtime: runtime?.runtime,
    images: runtime?.images,
    kubelet,
    proxier,
    close,
    [Symbol.asyncDispose]: close,
  }
}

async function openCluster(
  config: NodeConfig,
  nodeIPs: string[],
  log: Logger,
  starting: AsyncDisposableStack,
): Promise<Cluster> {
  const cluster = await startCluster({
    dataDir: foldersOf(config).cluster,
    address: '127.0.0.1',
    port: config.apiPort,
    serviceCidr: config.serviceCidr,
    nodeName: config.nodeName,
    nodeIPs,
    drivers: driversIn(join(foldersOf(config).kubelet, 'plugins')),
    log: log.child({ part: 'cluster' }),
  })
  starting.defer(async () => cluster.close())
  return cluster
}

/** The runtime alone, as `nodelet reset` needs it too. */
export async function openNodeRuntime(
  config: NodeConfig,
  log: Logger,
  starting: AsyncDisposableStack,
): Promise<{ runtime: Runtime; images: Images }> {
  const folders = foldersOf(config)
  await writeNetwork(config)
  const onProblem = (error: Error): void => log.warn({ part: 'runtime', err: error }, 'went wrong in the background')
  const images = starting.use(await openImages(imagesOptionsOf(config)))
  const cni = await openCni(config, log.child({ part: 'cni' }), starting)
  const runtime = starting.use(
    await openRuntime({
      stateDir: folders.runtime,
      runDir: config.run,
      cni,
      images,
      streaming: async (backend) => openStreaming(await createStreamAdapters(backend)),
      ...(config.cgroupDriver === 'cgroupfs' && { cgroupParentDefault: config.cgroupRoot }),
      cgroupDriver: config.cgroupDriver,
      enableSelinux: config.enableSelinux,
      onProblem,
    }),
  )
  starting.use(await serveRuntime(runtime, { socketPath: folders.criSocket }))
  return { runtime, images }
}

async function openCni(config: NodeConfig, log: Logger, starting: AsyncDisposableStack): Promise<Cni> {
  const { cniConf, cniCache } = foldersOf(config)
  const { cniPluginDir: dir, cniPluginPackages: packages, cniPackageDirs: packageDirs } = config
  const custom = starting.use(await loadPlugins({ dir, packages, packageDirs, log }))
  return starting.use(
    createCni({
      confDir: cniConf,
      binDirs: config.cniBinDirs,
      cacheDir: cniCache,
      plugins: [...standardPlugins, ...custom.plugins],
      unloaded: custom.unloaded,
      log,
    }),
  )
}

/** The default network, unless the folder of network lists is the user's own or the file was changed. */
async function writeNetwork(config: NodeConfig): Promise<void> {
  if (config.cniConfDir !== undefined) return
  const { cniConf } = foldersOf(config)
  const file = join(cniConf, '10-nodelet.conflist')
  await mkdir(cniConf, { recursive: true })
  try {
    await access(file)
  } catch {
    // not there yet: the first start
    const network = defaultNetwork({ name: networkName, bridge: bridgeName, subnets: [config.podCidr] })
    await writeFile(file, `${JSON.stringify(network, null, 2)}\n`)
  }
}

/** Waits for all before a failure is thrown, so that what did start can be stopped. */
async function settled<T extends readonly unknown[]>(
  work: readonly [...T],
): Promise<{ [K in keyof T]: Awaited<T[K]> }> {
  const results = await Promise.allSettled(work)
  for (const result of results) if (result.status === 'rejected') throw result.reason
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as { [K in keyof T]: Awaited<T[K]> }
}
