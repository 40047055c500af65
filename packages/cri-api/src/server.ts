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
import { CriError, grpcStatusOf } from './errors.ts'
import { ImageServiceService, RuntimeServiceService } from './gen/runtime.ts'
import type { CallOptions, ImageService, RuntimeService } from './services.ts'

export interface ServeOptions {
  /** Absolute path of the unix socket. A dead socket there is replaced, a live one refused. */
  socketPath: string
  runtimeService: RuntimeService
  imageService: ImageService
  /** Permissions of the socket; default 0660. */
  mode?: number
  /** How long `close` waits for unary calls under way, in milliseconds; then they are cut. Default 5000. */
  graceMs?: number
}

export interface CriServer extends AsyncDisposable {
  /** Refuses new calls, ends streams, waits for unary calls, removes the socket. Closing twice is fine. */
  close(): Promise<void>
}

/** Serves a runtime to kubelets and crictl. A client that cancels aborts the signal of its call. */
export async function serveCri({
  socketPath,
  runtimeService,
  imageService,
  mode = 0o660,
  graceMs = 5000,
}: ServeOptions): Promise<CriServer> {
  await claimSocket(socketPath)
  const server = new Server({
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
  })
  const closing = new AbortController()
  server.addService(RuntimeServiceService, handlersFor(RuntimeServiceService, runtimeService, closing.signal))
  server.addService(ImageServiceService, handlersFor(ImageServiceService, imageService, closing.signal))
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${socketPath}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(new Error(`cannot listen on ${socketPath}: ${error.message}`, { cause: error })) : resolve(),
    )
  })
  await chmod(socketPath, mode)
  let closed: Promise<void> | undefined
  const close = () => {
    // A kubelet keeps its event stream open for ever: streams end now, or the shutdown below would never finish.
    closing.abort(new CriError('UNAVAILABLE', 'the runtime is shutting down; connect again'))
    return (closed ??= closeServer(server, socketPath, graceMs))
  }
  return { close, [Symbol.asyncDispose]: close }
}

async function closeServer(server: Server, socketPath: string, graceMs: number): Promise<void> {
  const cut = setTimeout(() => server.forceShutdown(), graceMs)
  await new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
  clearTimeout(cut)
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
  const refusal = await once(probe, 'connect').then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error,
  )
  probe.destroy()
  if (!refusal)
    throw new Error(`cannot listen on ${path}: another runtime serves it; stop that one or choose another path`)
  // Only a refused connection says that nobody listens; a full queue, for instance, says that somebody does.
  if (refusal.code !== 'ECONNREFUSED') {
    const remedy = 'stop its owner, remove it or choose another path'
    throw new Error(`cannot tell whether ${path} is in use (${refusal.code}); ${remedy}`, { cause: refusal })
  }
  await rm(path)
}

type Handler = (request: unknown, options: CallOptions) => Promise<unknown> | AsyncIterable<unknown>

function handlersFor(
  definition: ServiceDefinition,
  service: RuntimeService | ImageService,
  closing: AbortSignal,
): UntypedServiceImplementation {
  const methods = service as unknown as Record<string, Handler>
  return Object.fromEntries(
    Object.entries(definition).map(([name, { responseStream }]) => {
      const call: Handler = (request, options) => {
        const method = methods[name]
        if (!method) throw new CriError('UNIMPLEMENTED', `this runtime does not offer ${name}`)
        return method.call(service, request, options)
      }
      return [name, responseStream ? streamHandler(call, closing) : unaryHandler(call)]
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

function streamHandler(method: Handler, closing: AbortSignal) {
  return (call: ServerWritableStream<unknown, unknown>): void => {
    const gone = new AbortController()
    call.on('cancelled', () => gone.abort(new Error('the client has gone')))
    const signal = AbortSignal.any([gone.signal, closing])
    pump(call, method, signal).then(
      () => (closing.aborted ? call.emit('error', grpcStatusOf(closing.reason)) : call.end()),
      (error: unknown) => {
        if (gone.signal.aborted) call.end()
        else call.emit('error', grpcStatusOf(closing.aborted ? closing.reason : error))
      },
    )
  }
}

/** Writes at the reader's pace. Ends on the signal even when the service does not look at it. */
async function pump(call: ServerWritableStream<unknown, unknown>, method: Handler, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  const messages = (method(call.request, { signal }) as AsyncIterable<unknown>)[Symbol.asyncIterator]()
  const aborted = Promise.withResolvers<never>()
  const abort = () => aborted.reject(signal.reason)
  // Without a message to wait for, nobody looks at the rejection.
  aborted.promise.catch(() => undefined)
  signal.addEventListener('abort', abort, { once: true })
  try {
    for (;;) {
      const next = await Promise.race([messages.next(), aborted.promise])
      if (next.done) return
      if (!call.write(next.value)) await once(call, 'drain', { signal })
    }
  } finally {
    signal.removeEventListener('abort', abort)
    // Not awaited: a generator that waits for something else settles when that does. Its failure has no reader any more.
    messages.return?.().catch(() => undefined)
  }
}
