// The kubelet: sources, workers and node, put together.
import { mkdir } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { VersionRequest } from '@nodelet/cri-api'
import { openCgroups } from '@nodelet/linux'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import { aborted } from './aborted.ts'
import { nodeCredentialsOf } from './assembly/credentials.ts'
import { createHousekeeping } from './assembly/housekeeping.ts'
import { createNetworkRange } from './assembly/network-range.ts'
import { podCgroupsOf, podsCgroupOf } from './assembly/pod-cgroups.ts'
import { createPodSets } from './assembly/pod-sets.ts'
import { createKubeletProber } from './assembly/prober.ts'
import { wakeReferrers } from './assembly/references.ts'
import { openServer, type RenewedServer } from './assembly/server.ts'
import { enforceAllocatable } from './assembly/allocatable.ts'
import { followRuntime, watchRuntimeHealth } from './assembly/follow-runtime.ts'
import { createImagePulls } from './assembly/image-pulls.ts'
import { nodeSettings } from './assembly/node-settings.ts'
import { checkMachine } from './assembly/preflight.ts'
import { registerNode } from './assembly/registration.ts'
import { readResolver } from './assembly/resolver.ts'
import { openStorage } from './assembly/storage.ts'
import { createKubeletVolumes } from './assembly/volumes.ts'
import { openDynamicResources } from './assembly/dynamic-resources.ts'
import { runtimeClients } from './assembly/runtime-clients.ts'
import { openShares } from './assembly/shares.ts'
import { podSources } from './assembly/sources.ts'
import { createUpkeep } from './assembly/upkeep.ts'
import { rotateClient } from './assembly/client-rotation.ts'
import { createPodCertificates } from './certificate/pod-certificates.ts'
import type { Rotation } from './certificate/rotation.ts'
import { kubeletVersion } from './kubelet-version.ts'
import { keepPlaces } from './process/place.ts'
import { type OwnProcess, prepareProcess } from './process/own-process.ts'
import { deletePod } from './pod/delete-pod.ts'
import { handlerOf } from './pod/runtime-class.ts'
import { execBy } from './probe/exec.ts'
import { createAdmission } from './admission/admission.ts'
import { sysctlRules } from './admission/sysctls.ts'
import { systemClock } from './clock.ts'
import { checkOptions, type Kubelet, type KubeletOptions } from './config.ts'
import { parseKubeletConfiguration } from './configuration/kubelet-configuration.ts'
import { idleSettings } from './configuration/unsupported.ts'
import { parseDuration } from './duration.ts'
import { createEventRecorder } from './events.ts'
import { logLevelOf, silentLogger } from './log.ts'
import { countRequests } from './metrics/client-metrics.ts'
import { createKubeletMetrics } from './metrics/kubelet-metrics.ts'
import { measuredCgroups } from './metrics/measured-cgroups.ts'
import { measuredReader } from './metrics/measured-reader.ts'
import { measured } from './metrics/measured-runtime.ts'
import { measuredStarts } from './metrics/measured-starts.ts'
import { measureStartup } from './metrics/node-startup.ts'
import { declaredFeatures } from './node/declared-features.ts'
import { readMachine } from './node/facts.ts'
import type { NodeAgent } from './node/node-agent.ts'
import { countsOf, nodeLabels, nodeResources } from './node/node-object.ts'
import { watchNode } from './node/node-watch.ts'
import { watchOom } from './node/oom-watcher.ts'
import { createRuntimeHealth } from './node/runtime-health.ts'
import { ttlOf } from './object-reader/cached.ts'
import { createApiObjects, noObjects } from './object-source.ts'
import { isStatic } from './pod/labels.ts'
import { createPodManager, type PodManager } from './pod/manager.ts'
import { createRuntimeReader } from './pod/runtime-read.ts'
import type { PodServices } from './pod/services.ts'
import { createSlots } from './pod/slots.ts'
import { subordinateIds } from './pod/subordinate-ids.ts'
import { openUserNamespaces } from './pod/user-namespaces.ts'
import { removeEveryPod } from './pod/remove-all.ts'
import { cgroupDriverOf } from './resource/driver-of-runtime.ts'
import { createPluginWatcher } from './plugins/watcher.ts'
import { servePodResources } from './pod-resources/server.ts'
import { createResizer } from './resize/resizer.ts'
import { type HealthCheck, startHealthServer } from './server/health.ts'
import type { PlainServer } from './server/plain-server.ts'
import { createMirrors } from './source/mirror.ts'
import { systemLogind } from './shutdown/logind.ts'
import { createShutdownManager } from './shutdown/manager.ts'
import { shutdownGroups } from './shutdown/plan.ts'
import { shareRoot } from './storage/shared-root.ts'
import { createStatusWriter } from './status-writer.ts'
import { bindSubPath } from './volume/sub-path.ts'

const present = <T>(value: T | undefined): T[] => (value === undefined ? [] : [value])

/** Of a client in Go whose rate is zero. */
const [defaultQps, defaultBurst] = [5, 10]

/**
 * Makes a kubelet; nothing happens before {@link Kubelet.start}.
 * @throws RangeError naming a wrong option; CriError when the runtime does not answer
 */
export async function createKubelet(options: KubeletOptions): Promise<Kubelet> {
  const configuration = parseKubeletConfiguration(options.configuration ?? {}, 'createKubelet: configuration')
  checkOptions(options, configuration)
  const { nodeName, rootDir } = options
  // As in the Go kubelet: events keep to a rate of their own, and what says that the node lives waits for nothing.
  const { client: unlimited } = options
  const { kubeAPIQPS, kubeAPIBurst } = configuration
  const client = unlimited?.limited({ qps: kubeAPIQPS || defaultQps, burst: kubeAPIBurst || defaultBurst })
  const metrics = createKubeletMetrics()
  const syncMs = parseDuration(configuration.syncFrequency)
  const limitMs = parseDuration(configuration.runtimeRequestTimeout)
  using opening = new DisposableStack()
  const clients = opening.use(runtimeClients(options, configuration))
  const runtimeService = measured(clients.runtimeService, metrics, limitMs)
  const imageService = measured(clients.imageService, metrics, limitMs)
  const { clock = systemClock, log = silentLogger } = options
  const stepped = measureStartup(metrics, clock)
  const { setLogLevel } = options
  if (configuration.logging.verbosity > 0) setLogLevel?.(logLevelOf(configuration.logging.verbosity))
  const idle = idleSettings(configuration, parseKubeletConfiguration({}, 'defaults'), options)
  if (idle.length > 0) log.warn({ fields: idle }, 'these fields of the configuration change nothing here')
  const { podLogsDir, podCIDR, maxPods } = configuration
  const { idsPerPod } = configuration.userNamespaces
  await Promise.all([mkdir(rootDir, { recursive: true, mode: 0o750 }), mkdir(podLogsDir, { recursive: true })])
  if (options.shareRoot) await shareRoot(rootDir)
  const machine = await readMachine(rootDir)
  const version = await runtimeService.version(VersionRequest.create({ version: '0.1.0' }))
  const cgroupDriver = await cgroupDriverOf(runtimeService, configuration)
  const resources = nodeResources({ machine, configuration })
  const apiObjects =
    client &&
    createApiObjects({
      client,
      strategy: configuration.configMapAndSecretChangeDetectionStrategy,
      ttlMs: () => ttlOf(nodeWatch?.get()),
      syncMs,
      readsTrustBundles: configuration.featureGates['ClusterTrustBundleProjection'] ?? false,
      clock,
      log,
    })
  const objects = apiObjects ?? noObjects
  const mirrors = client && createMirrors(client, nodeName, log)
  const events = createEventRecorder({
    nodeName,
    client: unlimited,
    qps: configuration.eventRecordQPS,
    burst: configuration.eventBurst,
    clock,
    log,
    subjectOf: (pod) => (isStatic(pod) && mirrors?.of(pod)) || pod,
  })
  const health = createRuntimeHealth(runtimeService, clock)
  const exec = execBy(runtimeService)
  const failed = (error: Error): void => {
    log.error({ err: error }, 'this kubelet cannot go on')
    options.failed?.(error)
  }
  let manager: PodManager
  const prober = options.prober ?? createKubeletProber({ exec, manager: () => manager, events, metrics, log })
  const storage = await openStorage({
    rootDir,
    nodeName,
    client,
    configuration,
    objects,
    node: () => nodeWatch?.get(),
    nodeTells: () => agent?.refresh(),
    failed,
    driverCame: () => manager.wakeAll(),
    events,
    metrics,
    clock,
    log,
  })
  const certificates =
    client && configuration.featureGates['PodCertificateRequest']
      ? createPodCertificates({ client, nodeName, node: () => nodeWatch?.get(), events, clock, log })
      : undefined
  // A pod that waits for one need not wait until it is tried again.
  certificates?.onChange((podUid) => manager.wake(podUid))
  const volumes =
    options.volumes ??
    createKubeletVolumes({
      rootDir,
      nodeName,
      objects,
      storage: storage.volumes,
      certificates,
      metrics,
      events,
      manager: () => manager,
      log,
    })
  const cgroupFiles = await openCgroups()
  const podsCgroup = podsCgroupOf(cgroupDriver, configuration)
  const { swapBehavior } = configuration.memorySwap
  const node = nodeSettings(options, configuration, machine, resources.allocatable)
  const { cfsQuota, pageSizes } = node
  const cgroups = measuredCgroups(
    options.cgroups ?? podCgroupsOf(cgroupDriver, cgroupFiles, configuration, { quota: cfsQuota, pageSizes }),
    metrics,
  )
  const starts = measuredStarts(metrics, clock)
  const statuses = createStatusWriter({ client, written: starts.written, clock, log })
  const pulls = createImagePulls({ rootDir, configuration, imageService, events, pulled: starts.pulled, clock })
  const range = createNetworkRange(runtimeService, log)
  const nodeWatch =
    client &&
    watchNode(
      client,
      nodeName,
      (there) => {
        range.follow(there)
        agent?.observe(there)
        storage.volumes.attachments.nodeChanged()
      },
      log,
    )
  const sysctls = sysctlRules(configuration.allowedUnsafeSysctls, machine.kernelVersion)
  /** As it will be registered, until the API server has it. */
  const ownNode: Node = {
    metadata: { name: nodeName, labels: nodeLabels({ nodeName, machine, labels: options.nodeLabels }) },
  }
  const { cpus, memory, devices, giver } = await openShares({
    rootDir,
    configuration,
    memoryBytes: machine.memoryBytes,
    poolChanged: () => manager.wakeAll(),
    devicesChanged(podUids) {
      for (const uid of podUids) manager.wake(uid)
      agent?.refresh()
    },
    metrics,
    clock,
    log,
  })
  const dynamic = await openDynamicResources({
    rootDir,
    nodeName,
    client,
    driverCame() {
      manager.wakeAll()
      if (allRead) housekeeping.now()
    },
    healthChanged: (podUid) => manager.refresh(podUid),
    metrics,
    clock,
    log,
  })
  const { claims } = dynamic
  const plugins = createPluginWatcher({
    folder: join(rootDir, 'plugins_registry'),
    handlers: new Map([
      ['DRAPlugin', dynamic.drivers],
      ['DevicePlugin', devices.plugins],
      ['CSIPlugin', storage.plugins],
    ]),
    clock,
    log,
  })
  const admission = createAdmission({
    async facts(fresh, signal) {
      return {
        node: (fresh ? await nodeWatch?.read(signal) : nodeWatch?.get()) ?? ownNode,
        allocatable: { ...resources.allocatable, ...countsOf(devices.resources(), 'allocatable') },
        pressure: upkeep.eviction.pressure(),
        sysctls,
        hasGroupsPolicy: health.answer()?.features?.supplementalGroupsPolicy ?? false,
        hasAppArmor: machine.appArmor,
        declaredFeatures: declaredFeatures(configuration),
        shuttingDown: shutdown.shuttingDown,
      }
    },
    giver,
    end: async (pod, failure) => manager.evict(pod.metadata?.uid ?? '', failure),
    preempted: (preemption_signal) => metrics.preemptions.inc({ preemption_signal }),
    events,
    log,
  })
  const resizer = createResizer({
    facts: () => ({
      active: admission.active(),
      allocatable: resources.allocatable,
      pinned: {
        cpu: configuration.cpuManagerPolicy === 'static',
        memory: configuration.memoryManagerPolicy === 'Static',
      },
      swaps: machine.swapBytes > 0n && swapBehavior === 'LimitedSwap' && cgroupFiles.version === 2,
    }),
    fits: (uid) => manager.wake(uid),
    accepted: (retry_trigger) => metrics.deferredAcceptedResizes.inc({ retry_trigger }),
    clock,
  })
  const services: PodServices = {
    node,
    admission,
    resizer,
    cpus,
    memory,
    devices,
    claims,
    runtime: runtimeService,
    imageService,
    nodeCredentials: nodeCredentialsOf({
      rootDir,
      providers: options.imageCredentialProviders,
      client,
      objects,
      clock,
      log,
    }),
    images: pulls.images,
    runtimeName: version.runtimeName,
    reader: measuredReader(createRuntimeReader(runtimeService), metrics),
    volumes,
    bindSubPath,
    prober,
    objects,
    events,
    statuses,
    slots: createSlots(options.parallelStarts ?? availableParallelism() + 1),
    cgroups,
    exec,
    resolver: async () => readResolver(configuration.resolvConf),
    networkProblem: health.networkProblem,
    runtimeHandler: async (pod) => handlerOf(client, pod),
    userNamespaces: await openUserNamespaces(rootDir, await subordinateIds({ maxPods, idsPerPod, log }), idsPerPod),
    handlerFeatures: (wanted) => {
      const handler = health.answer()?.runtimeHandlers.find(({ name }) => name === wanted)
      const { userNamespaces = false, recursiveReadOnlyMounts = false } = handler?.features ?? {}
      return handler && { userNamespaces, recursiveReadOnlyMounts }
    },
    mirror: (pod) => {
      if (isStatic(pod) && sets.isReady('api')) mirrors?.ensure(pod)
    },
    forgotten: () => sets.again(),
    deleteForGood: client && (async (pod) => deletePod(client, pod)),
    metrics,
    starts,
    clock,
    log,
  }
  manager = createPodManager(services)

  const sources = podSources({ nodeName, configuration, client, events, clock, log })
  const sets = createPodSets({ sources, manager, statuses, mirrors })
  const closing = new AbortController()
  let agent: NodeAgent | undefined
  let allRead = false
  const housekeeping = createHousekeeping({ services, claims, sets, manager, syncMs, metrics, clock, log })
  const upkeep = createUpkeep({
    nodeName,
    rootDir,
    configuration,
    machine,
    version: kubeletVersion,
    runtimeService,
    imageService,
    manager,
    reader: services.reader,
    counts: {
      statuses: () => manager.pods(),
      hasMirror: (pod) => mirrors?.of(pod) !== undefined,
      volumes: () => volumes.counts?.() ?? [],
      certificates: () => certificates?.states() ?? [],
      exclusiveCpus: (podUid, container) => cpus.exclusiveOf(podUid, container).length,
      exclusivePerNode: cpus.exclusivePerNode,
      shareableCpus: cpus.allocatable().length,
    },
    meter: storage.volumes.meter,
    imagesSeen: pulls.prune,
    health: () => healthChecks(),
    expires: () => ({ client: clientRotation?.expiresMs(), server: server?.expiresMs() }),
    cgroups: cgroupFiles,
    podsCgroup,
    pressureChanged: () => agent?.refresh(),
    events,
    metrics,
    clock,
    log,
  })
  const shutdown = createShutdownManager({
    rootDir,
    groups: shutdownGroups(configuration),
    logind: options.logind ?? systemLogind(),
    pods: () => manager.syncing(),
    end: async ({ metadata }, failure, graceSeconds) => manager.evict(metadata?.uid ?? '', failure, graceSeconds),
    changed: () => agent?.refresh(),
    ending(startMs, endMs) {
      metrics.shutdownStartSeconds.set(startMs / 1000)
      metrics.shutdownEndSeconds.set((endMs ?? 0) / 1000)
    },
    events,
    clock,
    log,
  })
  const watchHealth = watchRuntimeHealth({ health, manager, changed: () => agent?.refresh(), clock, log })
  const places = keepPlaces({ configuration, cgroups: cgroupFiles, ownProcess: options.ownProcess, clock, log })
  const stopObjects = wakeReferrers(objects, manager)
  let watching: Promise<void> | undefined
  let watchingOom: Promise<void> | undefined
  let utilChains: AsyncDisposable | undefined
  let ownProcess: OwnProcess | undefined
  const healthChecks = (): HealthCheck[] => [
    { name: 'ping' },
    { name: 'log' },
    { name: 'syncloop', problem: housekeeping.problem() },
  ]
  let counting: Disposable | undefined
  let server: RenewedServer | undefined
  let clientRotation: Rotation | undefined
  let podResources: AsyncDisposable | undefined
  let healthServer: PlainServer | undefined

  const close = async (): Promise<void> => {
    ownProcess?.[Symbol.dispose]()
    await server?.close()
    await healthServer?.[Symbol.asyncDispose]()
    closing.abort(new Error('the kubelet stops'))
    await clientRotation?.close()
    stopObjects()
    await Promise.all([
      agent?.close(),
      nodeWatch?.close(),
      housekeeping.close(),
      watchHealth.close(),
      places?.close(),
      upkeep.close(),
      shutdown.close(),
      sets.close(),
    ])
    resizer.close()
    const workers = manager.close()
    statuses.close()
    await workers
    await services.images.close()
    events.close()
    await prober.close()
    await volumes.close()
    await certificates?.[Symbol.asyncDispose]()
    await apiObjects?.close()
    await podResources?.[Symbol.asyncDispose]()
    await devices[Symbol.asyncDispose]()
    await plugins[Symbol.asyncDispose]()
    await dynamic[Symbol.asyncDispose]()
    await storage[Symbol.asyncDispose]()
    await Promise.all([watching, watchingOom])
    await utilChains?.[Symbol.asyncDispose]()
    counting?.[Symbol.dispose]()
  }
  const opened = opening.move()

  return {
    async start(signal) {
      signal?.throwIfAborted()
      await checkMachine({ configuration, machine, cgroupVersion: cgroupFiles.version, events })
      if (options.ownProcess) ownProcess = await prepareProcess({ configuration, health: healthChecks, clock, log })
      places?.now()
      counting ??= client && countRequests(client, metrics)
      nodeWatch?.start()
      watchingOom = watchOom({ path: options.kernelLog, events, signal: closing.signal, log })
      await health.check(signal)
      if (podCIDR) await range.tell(podCIDR)
      await enforceAllocatable({
        configuration,
        machine,
        allocatable: resources.allocatable,
        cgroups,
        cgroupFiles,
        events,
      })
      // A node that has no swap now may get some: containers that run then have been kept from it.
      if (await cgroupFiles.limitsSwap(podsCgroup)) {
        const { swapBytes, memoryBytes } = machine
        node.swap = { behavior: swapBehavior, swapBytes, memoryBytes }
      }
      await pulls.start()
      apiObjects?.start()
      podResources = await servePodResources({
        rootDir,
        pods: () => admission.active().map((pod) => manager.get(pod.metadata?.uid ?? '') ?? pod),
        cpus,
        memory,
        devices,
        claims,
        metrics,
        clock,
      }).catch((error: unknown) => {
        // A path that is too long for a socket, for instance: all else works.
        log.warn({ err: error }, 'nobody can ask what containers have')
        return undefined
      })
      await devices.start().catch((error: unknown) => {
        // A path that is too long for a socket, for instance: all else works.
        log.warn({ err: error }, 'device plugins cannot register')
      })
      dynamic.start()
      await plugins.start().catch((error: unknown) => {
        log.warn({ err: error }, 'plugins cannot register')
      })
      const stranger = (): void => {
        if (allRead) housekeeping.now()
      }
      const { reader } = services
      const following = { runtime: runtimeService, reader, manager, stranger, metrics, clock, log }
      watching = followRuntime(following, closing.signal)
      if (options.server) {
        const { pages, stats } = upkeep
        const { nodeIPs } = options
        const shared = {
          nodeName,
          nodeIPs,
          rootDir,
          configuration,
          client,
          setLogLevel,
          runtimeService,
          manager,
          reader,
          pages,
          stats,
          metrics,
        }
        server = await openServer({ ...shared, health: healthChecks, clock, log }, options.server)
      }
      const { healthzPort, healthzBindAddress } = configuration
      // Only when it was asked for: several kubelets may live on one machine.
      if (options.configuration?.healthzPort) {
        healthServer = await startHealthServer({ address: healthzBindAddress, port: healthzPort }, healthChecks)
      }
      if (client && configuration.rotateCertificates) {
        clientRotation = await rotateClient({ client, nodeName, rootDir, lost: failed, metrics, clock, log })
      }
      if (configuration.makeIPTablesUtilChains) utilChains = await options.utilChains?.()
      watchHealth.now()
      upkeep.start()
      if (unlimited && configuration.registerNode) {
        agent = registerNode({
          client: unlimited,
          options,
          configuration,
          machine,
          version,
          imageService,
          health,
          current: () => ({
            port: server?.port,
            problems: [
              ...health.problems(),
              ...present(storage.keeper?.problem()),
              ...(shutdown.shuttingDown ? ['node is shutting down'] : []),
            ],
            volumesInUse: storage.volumes.attachments.volumesInUse(),
            pressure: upkeep.eviction.pressure(),
            devices: devices.resources(),
          }),
          settled: async () => storage.keeper?.settled(),
          stepped,
          events,
          clock,
          log,
        })
      }
      // Its owner is the Node, whoever makes that.
      const isThere = agent?.registered ?? Promise.resolve()
      isThere.then(
        () => storage.keeper?.start(),
        () => undefined, // who awaits `start` hears of it
      )
      await sets.start()
      void sets.allReady.then(() => {
        allRead = true
        upkeep.eviction.start()
        shutdown.start()
        housekeeping.now()
      })
      ownProcess?.ready()
      // What comes from the folder runs meanwhile, with or without an API server.
      if (agent) await aborted(agent.registered, signal)
    },
    async close() {
      await close()
      opened.dispose()
    },
    async removeAllPods() {
      await close()
      await removeEveryPod(services)
      opened.dispose()
    },
    pods: () => manager.pods(),
    health: healthChecks,
    get port() {
      return server?.port
    },
  }
}
