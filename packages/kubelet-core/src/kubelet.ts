// The kubelet: sources, workers and node, put together.
import { mkdir, readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { type RuntimeService, VersionRequest } from '@nodelet/cri-api'
import { defineResource, isConflict, isNotFound, type KubeClient, pods as podResource } from '@nodelet/kube-client'
import { openCgroups } from '@nodelet/linux'
import type { Node, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { RuntimeClass } from 'kubernetes-types/node/v1.d.ts'
import { createAdmission } from './admission/admission.ts'
import { sysctlRules } from './admission/sysctls.ts'
import { checkpointContainer } from './checkpoint.ts'
import { systemClock } from './clock.ts'
import { checkOptions, type Kubelet, type KubeletOptions, type KubeletServerSettings } from './config.ts'
import { type KubeletConfiguration, parseKubeletConfiguration } from './configuration/kubelet-configuration.ts'
import { parseDuration } from './duration.ts'
import { removeStaleLogs } from './container-log/remove.ts'
import { createLogRotator } from './container-log/rotator.ts'
import { createEvictionManager } from './eviction/manager.ts'
import { createEventRecorder } from './events.ts'
import { silentLogger } from './log.ts'
import { createKubeletMetrics } from './metrics/kubelet-metrics.ts'
import { measured } from './metrics/measured-runtime.ts'
import { createMetricsPages } from './metrics/pages.ts'
import { readMachine } from './node/facts.ts'
import { createNodeAgent, type NodeAgent } from './node/node-agent.ts'
import { nodeLabels, nodeResources } from './node/node-object.ts'
import { watchNode } from './node/node-watch.ts'
import { createNodeView } from './node-view.ts'
import { nodeImages } from './node/images.ts'
import { startPeriod } from './node/period.ts'
import { createImageCollector } from './image-gc/collector.ts'
import { createRuntimeHealth } from './node/runtime-health.ts'
import { createApiObjects, noObjects } from './object-source.ts'
import { type DnsConfig, parseResolvConf } from './pod/dns.ts'
import { createImages } from './pod/images.ts'
import { isStatic } from './pod/labels.ts'
import { createPodManager, type PodManager } from './pod/manager.ts'
import { createRuntimeReader } from './pod/runtime-read.ts'
import type { NodeFacts, PodServices } from './pod/services.ts'
import { createSlots } from './pod/slots.ts'
import { openUserNamespaces } from './pod/user-namespaces.ts'
import { removeEveryPod } from './pod/remove-all.ts'
import { createProber } from './probe/prober.ts'
import type { ExecInContainer } from './probe/types.ts'
import { createCgroupDriver } from './resource/cgroup-driver.ts'
import { reservedOf } from './resource/reserved.ts'
import { parseMilliQuantity } from './quantity.ts'
import { createResizer } from './resize/resizer.ts'
import { runningPods } from './running-pods.ts'
import { watchRuntime } from './runtime-watch.ts'
import { type HealthCheck, type HealthServer, startHealthServer } from './server/health.ts'
import { createReviews } from './server/reviews.ts'
import { type KubeletServer, startKubeletServer } from './server/server.ts'
import { apiSource } from './source/api.ts'
import { manifestsSource } from './source/manifests.ts'
import { fullName, mergePods } from './source/merge.ts'
import { createMirrors } from './source/mirror.ts'
import type { PodSource } from './source/source.ts'
import { createStatsProvider } from './stats/provider.ts'
import { createStatusWriter } from './status-writer.ts'
import { createVolumeManager } from './volume/manager.ts'
import { bindSubPath } from './volume/sub-path.ts'

/** The behaviour that this kubelet has, as Kubernetes counts versions. */
export const kubeletVersion = 'v1.36.0+nodelet'

const relistMs = 60_000
/** Housekeeping that has not come round for so long hangs. */
const stuckMs = 300_000
const healthMs = 5000

/**
 * Makes a kubelet; nothing happens before {@link Kubelet.start}.
 * @throws RangeError naming a wrong option; CriError when the runtime does not answer
 */
export async function createKubelet(options: KubeletOptions): Promise<Kubelet> {
  const configuration = parseKubeletConfiguration(options.configuration ?? {}, 'createKubelet: configuration')
  checkOptions(options, configuration)
  const { nodeName, client, rootDir } = options
  const metrics = createKubeletMetrics()
  const runtimeService = measured(options.runtimeService, metrics)
  const imageService = measured(options.imageService, metrics)
  const { clock = systemClock, log = silentLogger } = options
  const { podLogsDir, podCIDR } = configuration
  await Promise.all([mkdir(rootDir, { recursive: true, mode: 0o750 }), mkdir(podLogsDir, { recursive: true })])
  const machine = await readMachine(rootDir)
  const version = await runtimeService.version(VersionRequest.create({ version: '0.1.0' }))
  const resources = nodeResources({ machine, configuration })
  const apiObjects = client && createApiObjects({ client, clock, log })
  const objects = apiObjects ?? noObjects
  const mirrors = client && createMirrors(client, nodeName, log)
  const events = createEventRecorder({
    nodeName,
    client,
    clock,
    log,
    subjectOf: (pod) => (isStatic(pod) && mirrors?.of(pod)) || pod,
  })
  const health = createRuntimeHealth(runtimeService, clock)
  const exec = execBy(runtimeService)
  let manager: PodManager
  const prober =
    options.prober ??
    createProber({
      exec,
      log,
      onAttempt({ pod, container }, kind, status, seconds) {
        const { name = '', namespace = '', uid = '' } = pod.metadata ?? {}
        const labels = { probe_type: probeTypes[kind], container: container.name, pod: name, namespace }
        const result = status === 'failure' ? 'failed' : status === 'unknown' ? 'unknown' : 'successful'
        metrics.probeResults.inc({ ...labels, result, pod_uid: uid })
        if (status !== 'failure') metrics.probeSeconds.observe(labels, seconds)
      },
      onVerdict: ({ podUid }) => manager.wake(podUid),
      onFailure({ podUid, container, message }) {
        const pod = manager.get(podUid)
        const fieldPath = `spec.containers{${container}}`
        if (pod) events.record(pod, { type: 'Warning', reason: 'Unhealthy', message, fieldPath })
      },
    })
  const cfsQuota = {
    enforced: configuration.cpuCFSQuota,
    periodUs: BigInt(Math.round(parseDuration(configuration.cpuCFSQuotaPeriod) * 1000)),
  }
  const volumes = options.volumes ?? createVolumeManager({ rootDir, nodeName, objects, log })
  const cgroupFiles = await openCgroups()
  const cgroups = options.cgroups ?? createCgroupDriver(cgroupFiles, { ...configuration, quota: cfsQuota })
  const statuses = createStatusWriter({ client, clock, log })
  const node: NodeFacts = {
    nodeName,
    hostIPs: options.nodeIPs,
    rootDir,
    podLogsDir,
    clusterDns: configuration.clusterDNS,
    clusterDomain: configuration.clusterDomain,
    memoryBytes: machine.memoryBytes,
    allocatable: resources.allocatable,
    thermalThrottle: machine.thermalThrottle,
    cfsQuota,
    singleProcessOOMKill: configuration.singleProcessOOMKill ?? false,
    seccompDefault: configuration.seccompDefault,
    maxRestartMs: parseDuration(configuration.crashLoopBackOff.maxContainerRestartPeriod ?? '300s'),
  }
  const nodeWatch = client && watchNode(client, nodeName, (seen) => followRange(seen), log)
  const sysctls = sysctlRules(configuration.allowedUnsafeSysctls, machine.kernelVersion)
  /** As it will be registered, until the API server has it. */
  const ownNode: Node = {
    metadata: { name: nodeName, labels: nodeLabels({ nodeName, machine, labels: options.nodeLabels }) },
  }
  const admission = createAdmission({
    async facts(fresh, signal) {
      return {
        node: (fresh ? await nodeWatch?.read(signal) : nodeWatch?.get()) ?? ownNode,
        allocatable: resources.allocatable,
        pressure: eviction.pressure(),
        sysctls,
        hasGroupsPolicy: health.answer()?.features?.supplementalGroupsPolicy ?? false,
        hasAppArmor: machine.appArmor,
        shuttingDown: false,
      }
    },
    givers: [],
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
    }),
    fits: (uid) => manager.wake(uid),
    clock,
  })
  const services: PodServices = {
    node,
    admission,
    resizer,
    runtime: runtimeService,
    imageService,
    images: createImages(imageService, events, clock, parallelPulls(configuration)),
    runtimeName: version.runtimeName,
    reader: createRuntimeReader(runtimeService),
    volumes,
    bindSubPath,
    prober,
    objects,
    events,
    statuses,
    slots: createSlots(options.parallelStarts ?? 2 * availableParallelism()),
    cgroups,
    exec,
    resolver: async () => readResolver(configuration.resolvConf),
    networkProblem: health.networkProblem,
    runtimeHandler: async (pod) => handlerOf(client, pod),
    userNamespaces: await openUserNamespaces(rootDir, configuration.maxPods),
    hasUserNamespaces: (wanted) => {
      const handler = health.answer()?.runtimeHandlers.find(({ name }) => name === wanted)
      return handler && (handler.features?.userNamespaces ?? false)
    },
    mirror: (pod) => {
      if (isStatic(pod) && ready.has('api')) mirrors?.ensure(pod)
    },
    deleteForGood: client && (async (pod) => deletePod(client, pod)),
    metrics,
    clock,
    log,
  }
  manager = createPodManager(services)

  const sources: PodSource[] = []
  const { staticPodPath: folder } = configuration
  if (folder) sources.push(manifestsSource({ folder, nodeName, clock, log }))
  if (client) sources.push(apiSource({ client, nodeName, log }))
  const sets = new Map<string, readonly Pod[]>()
  const ready = new Set<string>()
  const closing = new AbortController()
  const allReady = Promise.withResolvers<void>()

  /** As the status writer last saw them. */
  const observed = new Map<string, Pod | undefined>()

  const apply = (): void => {
    const { wanted, mirrors: known } = mergePods(sets.values())
    for (const uid of observed.keys()) if (!wanted.has(uid)) observed.delete(uid)
    for (const [uid, pod] of wanted) {
      if (isStatic(pod) && !mirrors) continue
      const inApi = isStatic(pod) ? known.get(fullName(pod)) : pod
      if (observed.has(uid) && observed.get(uid) === inApi) continue
      observed.set(uid, inApi)
      statuses.observe(uid, inApi)
    }
    const statics = [...wanted.values()].filter(isStatic)
    if (ready.size === sources.length) {
      mirrors?.update(statics, known)
      if (ready.has('api')) for (const pod of statics) mirrors?.ensure(pod)
      manager.update(wanted)
      allReady.resolve()
    } else {
      // Nothing is ended before all sources have been read: what is missing may yet come.
      manager.update(new Map([...wanted, ...manager.pods().map((pod) => [pod.metadata?.uid ?? '', pod] as const)]))
    }
  }

  let agent: NodeAgent | undefined
  const housekeeping = startPeriod({
    ms: relistMs,
    jitter: 0.5,
    clock,
    onError: (error, again) => log.warn({ err: error, again }, 'housekeeping'),
    async run(signal) {
      turnedMs = clock.now()
      await allReady.promise
      turnedMs = clock.now()
      const inRuntime = await services.reader.podUids(signal)
      manager.endOrphans(inRuntime)
      const known = manager.uids()
      for (const uid of await cgroups.list()) if (!known.has(uid)) await cgroups.remove(uid)
      await removeStaleLogs(podLogsDir, (uid) => !inRuntime.has(uid) && !manager.uids().has(uid))
      for (const uid of services.userNamespaces.uids()) {
        if (!manager.uids().has(uid)) await services.userNamespaces.release(uid)
      }
      manager.wakeAll()
    },
  })
  const logRotator = createLogRotator({
    runtime: runtimeService,
    *running() {
      for (const uid of manager.uids()) {
        for (const container of services.reader.last(uid)?.containers ?? []) {
          if (container.phase === 'running') yield container
        }
      }
    },
    configuration,
    clock,
    log,
  })
  const imageCollector = createImageCollector({
    runtime: runtimeService,
    imageService,
    usedByVolumes: () => [],
    removed: (reason) => metrics.collectedImages.inc({ reason }),
    configuration,
    events,
    clock,
    log,
  })
  const stats = createStatsProvider({
    nodeName,
    runtime: runtimeService,
    imageService,
    cgroups: cgroupFiles,
    podsCgroup: `${configuration.cgroupRoot.replace(/\/+$/, '')}/kubepods`,
    podsMemoryBytes: machine.memoryBytes - reservedOf(configuration, 'memory') / 1000n,
    rootDir,
    podLogsDir,
    volumeStatsMs: parseDuration(configuration.volumeStatsAggPeriod),
    pods: () => manager.pods(),
    clock,
  })
  const eviction = createEvictionManager({
    configuration,
    nodeUsage: async (signal) => stats.nodeUsage(signal),
    podUsage: async (signal) => stats.podUsage(signal),
    pods: () => manager.syncing(),
    evict: async ({ metadata }, failure, graceSeconds) => manager.evict(metadata?.uid ?? '', failure, graceSeconds),
    async reclaimDisk(signal) {
      await manager.removeDead()
      await imageCollector.removeUnused(signal)
    },
    pressureChanged: () => agent?.refresh(),
    evicted: ({ signal }) => metrics.evictions.inc({ eviction_signal: signal }),
    events,
    clock,
    log,
  })
  let hadProblem = true
  const watchHealth = startPeriod({
    ms: healthMs,
    clock,
    onError: (error) => log.warn({ err: error }, 'runtime health'),
    async run(signal) {
      const before = health.problems().join()
      await health.check(signal)
      if (before !== health.problems().join()) agent?.refresh()
      const problem = health.networkProblem() !== undefined
      if (hadProblem && !problem) manager.wakeAll()
      hadProblem = problem
    },
  })
  const stopObjects = objects.onChange((_kind, namespace, name) => {
    for (const pod of manager.pods()) if (mayReferTo(pod, namespace, name)) manager.wake(pod.metadata?.uid ?? '')
  })
  let watching: Promise<void> | undefined
  let range: string | undefined
  const tellRange = async (podCidr: string): Promise<void> => {
    range = podCidr
    await runtimeService.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr } } })
  }
  /** The control plane may give the node another range than asked. */
  const followRange = ({ spec }: Node): void => {
    const given = (spec?.podCIDRs ?? (spec?.podCIDR ? [spec.podCIDR] : [])).join(',')
    if (!given || given === range) return
    tellRange(given).catch((error: unknown) => log.warn({ err: error, range: given }, 'telling the runtime its range'))
  }

  const nodeFacts = async () => ({
    nodeName,
    nodeIPs: options.nodeIPs,
    machine,
    configuration,
    labels: options.nodeLabels,
    port: server?.port,
    runtimeVersion: `${version.runtimeName}://${version.runtimeVersion}`,
    kubeletVersion,
    images: await nodeImages(imageService, configuration.nodeStatusMaxImages),
    runtimeHandlers: (health.answer()?.runtimeHandlers ?? []).map(({ name, features }) => ({
      name,
      features: {
        recursiveReadOnlyMounts: features?.recursiveReadOnlyMounts ?? false,
        userNamespaces: features?.userNamespaces ?? false,
      },
    })),
    problems: health.problems(),
    pressure: eviction.pressure(),
  })

  const pages = createMetricsPages({
    metrics,
    stats,
    runtime: runtimeService,
    machine,
    nodeName,
    version: kubeletVersion,
    cgroupVersion: cgroups.version,
    pods: () =>
      manager.workers().map((one) => ({ ...one, runtime: services.reader.last(one.pod.metadata?.uid ?? '') })),
  })
  /** When the housekeeping last came round: a kubelet whose loop stands still does not. */
  let turnedMs = clock.now()
  const healthChecks = (): HealthCheck[] => {
    const stands = clock.now() - turnedMs > stuckMs
    return [
      { name: 'ping' },
      { name: 'log' },
      { name: 'syncloop', problem: stands ? 'sync Loop took longer than expected' : undefined },
    ]
  }
  const openServer = async (settings: KubeletServerSettings): Promise<KubeletServer> => {
    const view = {
      ...createNodeView(manager, services.reader),
      metrics: pages.read,
      summary: stats.summary,
      runningPods: async (signal: AbortSignal) => runningPods(runtimeService, signal),
      configz: () => configuration,
      checkpoint: async (pod: Pod, container: string, id: string, seconds: number, signal: AbortSignal) =>
        checkpointContainer(
          { runtime: runtimeService, rootDir, nowMs: clock.now() },
          pod,
          container,
          id,
          seconds,
          signal,
        ),
      health: healthChecks,
    }
    const { authentication, authorization } = configuration
    const reviews =
      client && authentication.webhook.enabled
        ? createReviews({
            client,
            nodeName,
            tokenTtlMs: parseDuration(authentication.webhook.cacheTTL),
            allowedTtlMs: parseDuration(authorization.webhook.cacheAuthorizedTTL),
            deniedTtlMs: parseDuration(authorization.webhook.cacheUnauthorizedTTL),
            clock,
          })
        : undefined
    return startKubeletServer({
      ...settings,
      node: view,
      runtimeService,
      containerLogsRoot: podLogsDir,
      // The API server lets them do all too; so they are not asked about.
      allowedNames: ['system:masters'],
      ...(reviews && { reviews }),
      anonymous: authentication.anonymous.enabled,
      alwaysAllow: authorization.mode === 'AlwaysAllow',
      debugging: configuration.enableDebuggingHandlers,
      systemLogs: configuration.enableSystemLogHandler ? '/var/log' : '',
      streamIdleMs: parseDuration(configuration.streamingConnectionIdleTimeout),
      log,
    })
  }
  let server: KubeletServer | undefined
  let healthServer: HealthServer | undefined

  const close = async (): Promise<void> => {
    await server?.close()
    await healthServer?.[Symbol.asyncDispose]()
    closing.abort(new Error('the kubelet stops'))
    pages.close()
    stopObjects()
    await Promise.all([
      agent?.close(),
      nodeWatch?.close(),
      housekeeping.close(),
      watchHealth.close(),
      logRotator.close(),
      imageCollector.close(),
      eviction.close(),
      ...sources.map(async (one) => one.close()),
    ])
    resizer.close()
    const workers = manager.close()
    statuses.close()
    await workers
    events.close()
    await prober.close()
    await volumes.close()
    await apiObjects?.close()
    await watching
  }

  return {
    async start(signal) {
      signal?.throwIfAborted()
      await health.check(signal)
      hadProblem = health.networkProblem() !== undefined
      if (podCIDR) await tellRange(podCIDR)
      await cgroups.start({
        milliCpu: parseMilliQuantity(resources.allocatable['cpu'] ?? '0'),
        memoryBytes: machine.memoryBytes - reservedOf(configuration, 'memory') / 1000n,
      })
      apiObjects?.start()
      const { reader } = services
      watching = watchRuntime(
        {
          runtime: runtimeService,
          ownerOf: reader.ownerOf,
          changed: manager.wake,
          changedAny: manager.wakeAll,
          clock,
          log,
        },
        closing.signal,
      )
      if (options.server) server = await openServer(options.server)
      const { healthzPort, healthzBindAddress } = configuration
      // Only when it was asked for: several kubelets may live on one machine.
      if (options.configuration?.healthzPort) {
        healthServer = await startHealthServer({ address: healthzBindAddress, port: healthzPort }, healthChecks)
      }
      watchHealth.now()
      logRotator.now()
      imageCollector.start()
      if (client && configuration.registerNode) {
        const statusMs = parseDuration(configuration.nodeStatusUpdateFrequency)
        const { nodeStatusReportFrequency = '5m', nodeLeaseDurationSeconds: leaseSeconds } = configuration
        const reportMs = parseDuration(nodeStatusReportFrequency)
        agent = createNodeAgent({
          client,
          facts: nodeFacts,
          nodeName,
          statusMs,
          reportMs,
          leaseSeconds,
          events,
          clock,
          log,
        })
        agent.start()
      }
      for (const source of sources) {
        await source.start((pods) => {
          sets.set(source.name, pods)
          ready.add(source.name)
          apply()
        })
      }
      void allReady.promise.then(async () => {
        eviction.start()
        await volumes.removeOrphans(manager.uids())
        housekeeping.now()
      })
      // What comes from the folder runs meanwhile, with or without an API server.
      if (agent) await abortable(agent.registered, signal)
    },
    close,
    async removeAllPods() {
      await close()
      await removeEveryPod(services)
    },
    pods: () => manager.pods(),
    health: healthChecks,
    get port() {
      return server?.port
    },
  }
}

/** One when serial, else as many as are allowed; images come side by side by default. */
const parallelPulls = ({ serializeImagePulls, maxParallelImagePulls }: KubeletConfiguration): number =>
  serializeImagePulls ? 1 : (maxParallelImagePulls ?? Infinity)

/** Without a file the node resolves for itself, as the Go kubelet has it. */
const readResolver = async (file: string): Promise<DnsConfig> =>
  file ? parseResolvConf(await readFile(file, 'utf8')) : { servers: ['127.0.0.1'], searches: ['.'], options: [] }

const probeTypes = { liveness: 'Liveness', readiness: 'Readiness', startup: 'Startup' } as const

const execBy =
  (runtime: Pick<RuntimeService, 'execSync'>): ExecInContainer =>
  async (containerId, command, timeoutMs, signal) => {
    const timeout = BigInt(Math.ceil(timeoutMs / 1000))
    const { exitCode, stdout, stderr } = await runtime.execSync({ containerId, cmd: [...command], timeout }, { signal })
    return { exitCode, output: Buffer.concat([stdout, stderr]).toString() }
  }

const runtimeClasses = defineResource<RuntimeClass>({
  group: 'node.k8s.io',
  version: 'v1',
  plural: 'runtimeclasses',
  kind: 'RuntimeClass',
  namespaced: false,
})

async function handlerOf(client: Pick<KubeClient, 'get'> | undefined, { spec }: Pod): Promise<string> {
  const name = spec?.runtimeClassName
  if (!name) return ''
  try {
    if (!client) throw new Error('this kubelet has no API server to ask')
    return (await client.get(runtimeClasses, { name })).handler
  } catch (cause) {
    throw new Error(`failed to get runtime handler of RuntimeClass "${name}": ${(cause as Error).message}`, { cause })
  }
}

async function deletePod(client: Pick<KubeClient, 'delete'>, { metadata }: Pod): Promise<void> {
  const { name = '', namespace = '', uid } = metadata ?? {}
  try {
    await client.delete(
      podResource,
      { name, namespace },
      { gracePeriodSeconds: 0, ...(uid && { preconditions: { uid } }) },
    )
  } catch (error) {
    // Gone already, or another pod has the name by now.
    if (!isNotFound(error) && !isConflict(error)) throw error
  }
}

/** Whether the pod names this ConfigMap or Secret anywhere: to look once too often does no harm. */
function mayReferTo(pod: Pod, namespace: string, name: string): boolean {
  return pod.metadata?.namespace === namespace && JSON.stringify(pod.spec).includes(JSON.stringify(name))
}

async function abortable(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) return promise
  signal.throwIfAborted()
  const aborted = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
  return Promise.race([promise, aborted])
}
