// A driver: functions in, gRPC services on a socket out.
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { isAbsolute, join } from 'node:path'
import { Server } from '@grpc/grpc-js'
import {
  ControllerService,
  GetPluginCapabilitiesResponse,
  type IdentityServer,
  IdentityService,
  NodeService,
  PluginCapability_Service_Type as Service,
  PluginCapability_VolumeExpansion_Type as Expansion,
  ProbeResponse,
} from '../gen/csi.ts'
import { serveRegistration } from '../registration/serve.ts'
import { listenOn } from '../registration/socket.ts'
import { controllerService } from './controller-service.ts'
import { createLocks } from './locks.ts'
import { type Logger, silentLogger } from '../log.ts'
import { nodeService } from './node-service.ts'
import { type Context, handler } from './serve-call.ts'
import type { ControllerFunctions, IdentityFunctions, NodeFunctions } from './types.ts'
import * as valid from './validate.ts'

export interface DriverOptions {
  /** As in StorageClass and CSIDriver objects: at most 63 letters, digits, `-` and `.`. */
  name: string
  version: string
  identity?: IdentityFunctions
  node: NodeFunctions
  controller?: ControllerFunctions
  /** Volumes are bound to places (`topology`); default: false. */
  hasTopology?: boolean
  /** Volumes that are in use grow too; only with an `expand` function. Default true. */
  expandsOnline?: boolean
  /** Default: silent. Secrets never come to it. */
  log?: Logger
}

export interface ServeDriverOptions {
  /** Such as `unix:///run/x/csi.sock` or the path alone. Default: `$CSI_ENDPOINT`, else `plugins/NAME/csi.sock` below `rootDir`. */
  endpoint?: string
  /** Register with the kubelet of this node; default true. */
  register?: boolean
  /** The kubelet's folder; default `/var/lib/kubelet`. */
  rootDir?: string
  /** How long calls under way may go on after `close`, in milliseconds; default 10 000. */
  graceMs?: number
  /** Closes the driver. */
  signal?: AbortSignal
}

export interface ServingDriver extends AsyncDisposable {
  /** Where it listens. */
  readonly socketPath: string
  /** Settled when it has ended: rejected when a kubelet refuses it, with the kubelet's words, or the kubelet's folder is gone. */
  readonly ended: Promise<void>
  /** Takes back the registration, lets calls under way end, removes the socket. Closing twice is fine. */
  close(): Promise<void>
}

export interface Driver {
  readonly name: string
  /** @throws Error when another process listens there */
  serve(options?: ServeDriverOptions): Promise<ServingDriver>
}

/** @throws CsiError INVALID_ARGUMENT when the name is none, the version is empty or one of two functions is missing */
export function createDriver(options: DriverOptions): Driver {
  const { name, version, node, controller } = options
  valid.driverName(name)
  valid.required('version', version)
  inPairs('node', node, [['stage', 'unstage']])
  if (controller) {
    inPairs('controller', controller, [
      ['create', 'delete'],
      ['publish', 'unpublish'],
      ['createSnapshot', 'deleteSnapshot'],
    ])
  }
  return { name, serve: async (serving = {}) => serveDriver(options, serving) }
}

function inPairs<T extends object>(part: string, functions: T, pairs: readonly (readonly [keyof T, keyof T])[]): void {
  for (const [one, other] of pairs) {
    if ((functions[one] === undefined) === (functions[other] === undefined)) continue
    throw valid.refused(`${part}: ${String(one)} and ${String(other)} come together or not at all`)
  }
}

async function serveDriver(options: DriverOptions, serving: ServeDriverOptions): Promise<ServingDriver> {
  const { name, node, controller, log = silentLogger } = options
  const { rootDir = '/var/lib/kubelet', register = true, graceMs = 10_000, signal } = serving
  signal?.throwIfAborted()
  const usual = join(rootDir, 'plugins', name, 'csi.sock')
  const socketPath = pathOf(serving.endpoint ?? process.env['CSI_ENDPOINT'] ?? usual)
  const ending = new AbortController()
  const context: Context = { driver: name, log, locks: createLocks(), signal: ending.signal, running: new Set() }
  const server = new Server()
  server.addService(IdentityService, identityService(options, context))
  server.addService(NodeService, nodeService(node, context))
  if (controller) server.addService(ControllerService, controllerService(controller, context))
  await refuseLive(socketPath)

  const { promise: ended, resolve, reject } = Promise.withResolvers<void>()
  // Who does not await it is told by the log: Node would end the process for a rejection that nobody hears.
  ended.catch(() => undefined)
  await using opening = new AsyncDisposableStack()
  opening.use(await listenOn(server, socketPath))
  let closed: Promise<void> | undefined
  let opened: AsyncDisposableStack | undefined
  let registration: AsyncDisposable | undefined
  const finish = async (): Promise<void> => {
    signal?.removeEventListener('abort', onAbort)
    await registration?.[Symbol.asyncDispose]()
    const grace = setTimeout(() => ending.abort(new Error(`${name} was stopped`)), graceMs)
    const quiet = new Promise<void>((done) => server.tryShutdown(() => done()))
    await Promise.race([quiet, once(ending.signal)])
    // Callers may have gone, the work of their calls goes on.
    await Promise.race([Promise.allSettled(context.running), once(ending.signal)])
    clearTimeout(grace)
    ending.abort(new Error(`${name} was stopped`))
    await opened?.disposeAsync()
    await rm(socketPath, { force: true })
  }
  const close = async (): Promise<void> => (closed ??= finish().then(resolve, reject))
  const onAbort = (): void => void close()
  const onError = (error: Error): void => {
    log.error({ err: error }, 'registration failed')
    reject(error)
    void close()
  }
  if (register) {
    const info = { type: 'CSIPlugin', name, endpoint: socketPath, supportedVersions: ['1.0.0'] }
    registration = await serveRegistration({
      ...info,
      rootDir,
      onError,
      onRegistered: () => log.info({}, 'registered'),
    })
  }
  opened = opening.move()
  signal?.addEventListener('abort', onAbort, { once: true })
  if (signal?.aborted) void close()
  log.info({ socket: socketPath }, 'serving')
  return { socketPath, ended, close, [Symbol.asyncDispose]: close }
}

const once = async (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })

function pathOf(endpoint: string): string {
  const path = endpoint.replace(/^unix:(\/\/)?/, '')
  if (isAbsolute(path)) return path
  throw valid.refused(
    `endpoint ${JSON.stringify(endpoint)}: must be a unix socket's absolute path, such as unix:///csi/csi.sock`,
  )
}

/** A socket that a killed driver left is replaced, a live one is not. */
async function refuseLive(path: string): Promise<void> {
  if (!existsSync(path)) return
  const isLive = await new Promise<boolean>((resolve) => {
    const probe = connect(path)
    probe.on('connect', () => (probe.destroy(), resolve(true))).on('error', () => resolve(false))
  })
  if (isLive) throw new Error(`another process serves ${path}: stop it first`)
}

function identityService(options: DriverOptions, context: Context): IdentityServer {
  const { name, version, identity = {}, node, controller, hasTopology, expandsOnline = true } = options
  const services = [
    ...(controller ? [Service.CONTROLLER_SERVICE] : []),
    ...(hasTopology ? [Service.VOLUME_ACCESSIBILITY_CONSTRAINTS] : []),
  ]
  const expands = node.expand ?? controller?.expand
  const expansion = expands ? [expandsOnline ? Expansion.ONLINE : Expansion.OFFLINE] : []
  return {
    getPluginInfo: (_call, reply) => reply(null, { name, vendorVersion: version, manifest: { ...identity.manifest } }),
    getPluginCapabilities: (_call, reply) =>
      reply(
        null,
        GetPluginCapabilitiesResponse.fromPartial({
          capabilities: [
            ...services.map((type) => ({ service: { type } })),
            ...expansion.map((type) => ({ volumeExpansion: { type } })),
          ],
        }),
      ),
    probe: handler(context, {
      rpc: 'Probe',
      run: async (_none: object, call) => (await identity.ready?.(call)) ?? true,
      parse: () => ({}),
      respond: (ready) => ProbeResponse.fromPartial({ ready }),
    }),
  }
}
