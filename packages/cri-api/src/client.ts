// An endpoint → both CRI services, over gRPC.
import { Client, credentials, type ServiceDefinition } from '@grpc/grpc-js'
import { criErrorFrom } from './errors.ts'
import { ImageServiceService, RuntimeServiceService } from './gen/runtime.ts'
import type { CallOptions, ImageService, RuntimeService } from './services.ts'

/** What one CRI message may measure, in bytes, in both directions. */
export const maxMessageBytes: number = 16 * 1024 * 1024

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
export function createCriClient(endpoint: string): CriClient {
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
    runtimeService: serviceOver<RuntimeService>(client, RuntimeServiceService),
    imageService: serviceOver<ImageService>(client, ImageServiceService),
    close: () => client.close(),
    [Symbol.asyncDispose]: async () => client.close(),
  }
}

type Method = ServiceDefinition[string]

/** One object with a function per RPC of the definition. The definition and the interface state the same RPCs: a test compares. */
function serviceOver<Service>(client: Client, definition: ServiceDefinition): Service {
  const calls = Object.entries(definition).map(([name, method]) => [
    name,
    (request: unknown, options?: CallOptions) =>
      method.responseStream ? stream(client, method, request, options) : unary(client, method, request, options),
  ])
  return Object.fromEntries(calls) as Service
}

async function unary(client: Client, method: Method, request: unknown, { signal }: CallOptions = {}): Promise<unknown> {
  signal?.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  const { path, requestSerialize, responseDeserialize } = method
  const call = client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, response) => {
    if (error) reject(signal?.aborted ? signal.reason : criErrorFrom(error))
    else resolve(response)
  })
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
  { signal }: CallOptions = {},
): AsyncIterable<unknown> {
  signal?.throwIfAborted()
  const call = client.makeServerStreamRequest(method.path, method.requestSerialize, method.responseDeserialize, request)
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
