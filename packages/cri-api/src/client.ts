// An endpoint → both CRI services, over gRPC.
import { type CallOptions as WireOptions, Client, credentials, type ServiceDefinition } from '@grpc/grpc-js'
import { criErrorFrom } from './errors.ts'
import { ImageServiceService, RuntimeServiceService } from './gen/runtime.ts'
import type { CallOptions, ImageService, RuntimeService } from './services.ts'

/** What one CRI message may measure, in bytes, in both directions. */
export const maxMessageBytes: number = 16 * 1024 * 1024

/** The name of an RPC, as in the interfaces. */
export type RpcName = keyof RuntimeService | keyof ImageService

export interface CriClientOptions {
  /**
   * The deadline of a call, in milliseconds: of all calls alike, or of each from its RPC and request; the runtime is told it.
   * A call past it fails with DEADLINE_EXCEEDED. Default, and `undefined` from the function: none.
   */
  timeout?: number | ((rpc: RpcName, request: unknown) => number | undefined)
}

export interface CriClient extends AsyncDisposable {
  runtimeService: RuntimeService
  imageService: ImageService
  /** Ends the connection; calls under way fail. Closing twice is fine. */
  close(): void
}

/**
 * Connects to a runtime. The connection is made by the first call and renewed after a loss (100 ms to 3 s between tries).
 * Failed calls throw a `CriError`; an aborted one throws the signal's reason.
 * @param endpoint for instance `unix:///run/containerd/containerd.sock`
 */
export function createCriClient(endpoint: string, { timeout }: CriClientOptions = {}): CriClient {
  const timeoutOf = typeof timeout === 'function' ? timeout : () => timeout
  if (!endpoint.startsWith('unix:///')) {
    throw new TypeError(`CRI endpoint ${JSON.stringify(endpoint)}: only unix:///absolute/path is supported`)
  }
  const client = new Client(endpoint, credentials.createInsecure(), {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 3000,
  })
  return {
    runtimeService: serviceOver<RuntimeService>(client, RuntimeServiceService, timeoutOf),
    imageService: serviceOver<ImageService>(client, ImageServiceService, timeoutOf),
    close: () => client.close(),
    [Symbol.asyncDispose]: async () => client.close(),
  }
}

type Method = ServiceDefinition[string]
type TimeoutOf = (rpc: RpcName, request: unknown) => number | undefined

/** One object with a function per RPC of the definition. The definition and the interface state the same RPCs: a test compares. */
function serviceOver<Service>(client: Client, definition: ServiceDefinition, timeoutOf: TimeoutOf): Service {
  const wire = (name: string, request: unknown): WireOptions => {
    const timeout = timeoutOf(name as RpcName, request)
    return timeout === undefined ? {} : { deadline: Date.now() + timeout }
  }
  const calls = Object.entries(definition).map(([name, method]) => [
    name,
    (request: unknown, options?: CallOptions) =>
      method.responseStream
        ? stream(client, method, request, wire(name, request), options)
        : unary(client, method, request, wire(name, request), options),
  ])
  return Object.fromEntries(calls) as Service
}

async function unary(
  client: Client,
  method: Method,
  request: unknown,
  wire: WireOptions,
  { signal }: CallOptions = {},
): Promise<unknown> {
  signal?.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  const { path, requestSerialize, responseDeserialize } = method
  const call = client.makeUnaryRequest(
    path,
    requestSerialize,
    responseDeserialize,
    request,
    wire,
    (error, response) => {
      if (error) reject(signal?.aborted ? signal.reason : criErrorFrom(error))
      else resolve(response)
    },
  )
  const cancel = () => call.cancel()
  signal?.addEventListener('abort', cancel, { once: true })
  try {
    return await promise
  } finally {
    signal?.removeEventListener('abort', cancel)
  }
}

async function* stream(
  client: Client,
  method: Method,
  request: unknown,
  wire: WireOptions,
  { signal }: CallOptions = {},
): AsyncIterable<unknown> {
  signal?.throwIfAborted()
  const call = client.makeServerStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
    request,
    wire,
  )
  const cancel = () => call.cancel()
  signal?.addEventListener('abort', cancel, { once: true })
  try {
    for await (const message of call) yield message
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    throw criErrorFrom(error as { code?: number; details?: string; message: string })
  } finally {
    signal?.removeEventListener('abort', cancel)
    // A reader that leaves early ends the call; the status that follows has no reader.
    call.on('error', () => undefined)
    call.cancel()
  }
}
