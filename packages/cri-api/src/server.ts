// Both CRI services → an endpoint, over gRPC.
import { once } from 'node:events'
import { chmod, rm, stat } from 'node:fs/promises'
import { connect } from 'node:net'
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { maxMessageBytes } from './client.ts'
import { grpcStatusOf } from './errors.ts'
import { ImageServiceService, RuntimeServiceService } from './gen/runtime.ts'
import type { CallOptions, ImageService, RuntimeService } from './services.ts'

export interface ServeOptions {
  /** Absolute path of the unix socket. A dead socket there is replaced, a live one refused. */
  socketPath: string
  runtimeService: RuntimeService
  imageService: ImageService
  /** Permissions of the socket; default 0660. */
  mode?: number
}

export interface CriServer extends AsyncDisposable {
  /** Refuses new calls, waits for those under way, removes the socket. Closing twice is fine. */
  close(): Promise<void>
}

/** Serves a runtime to kubelets and crictl. A client that cancels aborts the signal of its call. */
export async function serveCri({
  socketPath,
  runtimeService,
  imageService,
  mode = 0o660,
}: ServeOptions): Promise<CriServer> {
  await claimSocket(socketPath)
  const server = new Server({
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
  })
  server.addService(RuntimeServiceService, handlersFor(RuntimeServiceService, runtimeService))
  server.addService(ImageServiceService, handlersFor(ImageServiceService, imageService))
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${socketPath}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(new Error(`cannot listen on ${socketPath}: ${error.message}`, { cause: error })) : resolve(),
    )
  })
  await chmod(socketPath, mode)
  let closed: Promise<void> | undefined
  const close = () => (closed ??= closeServer(server, socketPath))
  return { close, [Symbol.asyncDispose]: close }
}

async function closeServer(server: Server, socketPath: string): Promise<void> {
  await new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
  await rm(socketPath, { force: true })
}

/** Removes a socket that nobody listens on; a file of another kind and a live socket are left alone. */
async function claimSocket(path: string): Promise<void> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (!found) return
  if (!found.isSocket())
    throw new Error(`cannot listen on ${path}: a file that is not a socket is there; remove it or choose another path`)
  const probe = connect(path)
  const live = await once(probe, 'connect').then(
    () => true,
    () => false,
  )
  probe.destroy()
  if (live) throw new Error(`cannot listen on ${path}: another runtime serves it; stop that one or choose another path`)
  await rm(path)
}

type Handler = (request: unknown, options: CallOptions) => Promise<unknown> | AsyncIterable<unknown>

function handlersFor(
  definition: ServiceDefinition,
  service: RuntimeService | ImageService,
): UntypedServiceImplementation {
  const methods = service as unknown as Record<string, Handler>
  return Object.fromEntries(
    Object.entries(definition).map(([name, { responseStream }]) => {
      const call: Handler = (request, options) => {
        const method = methods[name]
        if (!method) throw new Error(`the runtime has no ${name}`)
        return method.call(service, request, options)
      }
      return [name, responseStream ? streamHandler(call) : unaryHandler(call)]
    }),
  )
}

function unaryHandler(method: Handler) {
  return (call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>): void => {
    const abort = new AbortController()
    call.on('cancelled', () => abort.abort(new Error('the client has gone')))
    Promise.resolve()
      .then(() => method(call.request, { signal: abort.signal }))
      .then(
        (response) => callback(null, response),
        (error: unknown) => callback(grpcStatusOf(error)),
      )
  }
}

function streamHandler(method: Handler) {
  return (call: ServerWritableStream<unknown, unknown>): void => {
    const abort = new AbortController()
    call.on('cancelled', () => abort.abort(new Error('the client has gone')))
    pump(call, method, abort.signal).then(
      () => call.end(),
      (error: unknown) => (abort.signal.aborted ? call.end() : call.emit('error', grpcStatusOf(error))),
    )
  }
}

/** Writes at the reader's pace. */
async function pump(call: ServerWritableStream<unknown, unknown>, method: Handler, signal: AbortSignal): Promise<void> {
  for await (const message of method(call.request, { signal }) as AsyncIterable<unknown>) {
    if (!call.write(message)) await once(call, 'drain', { signal })
  }
}
