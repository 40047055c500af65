// A whole container runtime: containers, sandboxes and images as the two services of CRI.
import { ContainerEventType, serveCri } from '@nodelet/cri-api'
import type { ContainerEventResponse, CriServer, ImageService, RuntimeService } from '@nodelet/cri-api'
import type { Cni } from '@nodelet/cni-plugins'
import { openContainers } from './container/containers.ts'
import type { Containers } from './container/containers.ts'
import type { ContainerRecord } from './container/record.ts'
import { createStatsReader } from './container/stats.ts'
import { createEventHub } from './events.ts'
import type { Images } from './image/images-api.ts'
import { openHandlers } from './handlers.ts'
import type { HandlersOptions } from './handlers.ts'
import { hasSelinux, readDefaultLabels } from './selinux/host.ts'
import type { PolicyLabels } from './selinux/labels.ts'
import { openSandboxes } from './sandbox/sandboxes.ts'
import { createRuntimeService } from './service.ts'
import { tell } from './service-context.ts'
import type { ServiceContext } from './service-context.ts'
import type { Streaming } from './streaming/server.ts'
import { userNamespaceObstacle } from './user-namespace-support.ts'
import { ownVersion } from './version.ts'

/** What a streaming server works on. */
export interface StreamBackend {
  containers: Containers
  stateDir: string
  runDir: string
  /**
   * The file that pins a sandbox's network; `host` for the node's own.
   *
   * @throws CriError NOT_FOUND, or FAILED_PRECONDITION when the sandbox is not ready.
   */
  networkOf(sandboxId: string): string
}

export interface RuntimeOptions extends Omit<HandlersOptions, 'hasUserNamespaces'> {
  /** Survives reboots, for instance `/var/lib/nodelet/runtime`. */
  stateDir: string
  /** On a tmpfs, at most 34 bytes long, for instance `/run/nodelet`. */
  runDir: string
  cni: Cni
  /** Stay the caller's to dispose of, after the runtime. */
  images: Pick<
    Images,
    | 'root'
    | 'resolve'
    | 'list'
    | 'prepareRootfs'
    | 'releaseRootfs'
    | 'rootfsUsage'
    | 'prepareView'
    | 'releaseViews'
    | 'imageService'
  >
  /**
   * Makes the streaming server, which the runtime then disposes of, for instance
   * `async (backend) => openStreaming(await createStreamAdapters(backend))`. Without one Exec, Attach and PortForward
   * are UNIMPLEMENTED.
   */
  streaming?: (backend: StreamBackend) => Promise<Streaming>
  /** Default: `nodelet`. */
  runtimeName?: string
  /** Default: `/nodelet`. */
  cgroupParentDefault?: string
  /** The program of the only handler, when there are no `handlers`. Default: `runc` on the PATH. */
  runc?: string
  /** Default: `conmon` on the PATH. */
  conmon?: string
  /** Folders of CDI files, a later one wins. Default: `/etc/cdi` and `/var/run/cdi`. */
  cdiSpecDirs?: readonly string[]
  /** Devices belong to run_as_user and run_as_group of the container that names them. Default: to their owner here. */
  deviceOwnershipFromSecurityContext?: boolean
  /**
   * Containers have SELinux labels: those of the machine's policy, with categories of their own for each pod, or what
   * `selinux_options` say. Default: they have none, whatever is asked for.
   */
  enableSelinux?: boolean
  /** Told of what went wrong in the background. Default: a process warning. */
  onProblem?: (error: Error) => void
}

/** Disposing leaves the containers running. */
export interface Runtime extends AsyncDisposable {
  runtimeService: RuntimeService
  imageService: ImageService
  /**
   * Fulfilled when the container has ended; at once if it has.
   *
   * @throws CriError NOT_FOUND
   */
  wait(containerId: string): Promise<Readonly<ContainerRecord>>
}

/**
 * Opens a runtime. What ran goes on, what a crash cut off is finished or undone, what a reboot ended is said to have
 * ended.
 *
 * @throws Error when another process has `stateDir`, runc or conmon is not there, or SELinux is asked for and not there.
 */
export async function openRuntime(options: RuntimeOptions): Promise<Runtime> {
  const { stateDir, runDir, cni, images, onProblem } = options
  await using opening = new AsyncDisposableStack()
  const noUserNamespaces = await userNamespaceObstacle(images.root)
  const selinux = options.enableSelinux ? await readLabels() : undefined
  const handlers = await openHandlers(runDir, {
    ...options,
    handlers: options.handlers ?? { runc: options.runc === undefined ? {} : { path: options.runc } },
    hasUserNamespaces: noUserNamespaces === undefined,
  })
  // Nobody listens before all is open: recovery has no events.
  let context: ServiceContext | undefined
  const containers = opening.use(
    await openContainers({
      stateDir,
      runDir,
      handlers,
      releaseRootfs: (id) => images.releaseRootfs(id),
      onEvent: ({ type, container: { id, sandboxId, isInfra } }) => {
        if (!context) return
        if (!isInfra) tell(context, eventTypes[type], id, sandboxId)
        else if (type === 'stopped' && isInUse(context, sandboxId))
          tell(context, eventTypes.stopped, sandboxId, sandboxId)
      },
      ...(options.conmon === undefined ? {} : { conmon: options.conmon }),
      ...(options.cdiSpecDirs === undefined ? {} : { cdiSpecDirs: options.cdiSpecDirs }),
      deviceOwnershipFromSecurityContext: options.deviceOwnershipFromSecurityContext ?? false,
      ...(onProblem ? { onProblem } : {}),
    }),
  )
  const sandboxes = await openSandboxes({
    stateDir,
    runDir,
    containers,
    handlers,
    cni,
    releaseViews: (id) => images.releaseViews(id),
    onEvent: ({ type, sandbox: { id } }) => {
      if (context) tell(context, eventTypes[type], id, id)
    },
    ...(options.cgroupParentDefault === undefined ? {} : { cgroupParentDefault: options.cgroupParentDefault }),
    ...(selinux ? { selinux } : {}),
    ...(onProblem ? { onProblem } : {}),
  })
  const networkOf = (id: string): string => {
    sandboxes.assertReady(id)
    return sandboxes.facts(id).networkPath ?? 'host'
  }
  const streaming = await options.streaming?.({ containers, stateDir, runDir, networkOf })
  if (streaming) opening.use(streaming)
  context = {
    sandboxes,
    containers,
    images,
    cni,
    events: createEventHub<ContainerEventResponse>(),
    stats: createStatsReader(sandboxes.cgroups),
    name: options.runtimeName ?? 'nodelet',
    version: await ownVersion(),
    handlers,
    ...(noUserNamespaces === undefined ? {} : { noUserNamespaces }),
    ...(streaming ? { streaming } : {}),
  }
  const resources = opening.move()
  return {
    runtimeService: createRuntimeService(context),
    imageService: images.imageService,
    wait: async (id) => containers.wait(id),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}

/** Serves a runtime to kubelets and crictl on a unix socket. */
export async function serveRuntime(
  { runtimeService, imageService }: Pick<Runtime, 'runtimeService' | 'imageService'>,
  { socketPath }: { socketPath: string },
): Promise<CriServer> {
  return serveCri({ socketPath, runtimeService, imageService })
}

const eventTypes = {
  created: ContainerEventType.CONTAINER_CREATED_EVENT,
  started: ContainerEventType.CONTAINER_STARTED_EVENT,
  stopped: ContainerEventType.CONTAINER_STOPPED_EVENT,
  deleted: ContainerEventType.CONTAINER_DELETED_EVENT,
} as const

async function readLabels(): Promise<PolicyLabels> {
  if (await hasSelinux()) return readDefaultLabels()
  throw new Error('enableSelinux: this machine has no SELinux, or /sys/fs/selinux is not mounted: leave it out')
}

/** Whether nobody has asked for its end: then that of its first process is news. */
const isInUse = ({ sandboxes }: ServiceContext, id: string): boolean =>
  sandboxes.list().some((one) => one.id === id && one.phase === 'ready')
