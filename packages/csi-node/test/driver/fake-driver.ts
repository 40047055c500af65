// A CSI driver over a real socket, as good or as bad as a test wants it.
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import { createServer as createListener, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type sendUnaryData, Server, ServerCredentials, type ServerUnaryCall } from '@grpc/grpc-js'
import { NodeService } from '../../src/gen/csi.ts'

export interface Asked {
  method: string
  request: Record<string, unknown>
  authority: string
  /** Until when the driver was given. */
  deadline: Date | number
}

/** What a driver makes of one call: an answer; a thrown `{ code, details }`; a promise that may never come. */
export type Behaviour = (call: ServerUnaryCall<never, unknown>) => unknown

export interface ServedDriver extends AsyncDisposable {
  endpoint: string
  asked: Asked[]
  /** By the name in NodeService; the others answer well. */
  does: Partial<Record<keyof typeof NodeService, Behaviour>>
  /** Breaks every connection, and listens no more. */
  kill(): void
}

const good: Partial<Record<keyof typeof NodeService, Behaviour>> = {
  nodeGetInfo: () => ({ nodeId: 'node-1', maxVolumesPerNode: 25n, accessibleTopology: { segments: { zone: 'a' } } }),
  nodeGetCapabilities: () => ({ capabilities: [1, 2, 3].map((type) => ({ rpc: { type } })) }),
  nodeGetVolumeStats: () => ({
    usage: [
      { unit: 1, total: 100n, available: 60n, used: 40n },
      { unit: 2, total: 10n, available: 4n, used: 6n },
    ],
  }),
  nodeExpandVolume: () => ({ capacityBytes: 2048n }),
}

export async function serveDriver(folder: string, name = 'csi.sock'): Promise<ServedDriver> {
  const endpoint = join(folder, name)
  const asked: Asked[] = []
  const does: ServedDriver['does'] = {}
  const server = new Server()
  const answer =
    (method: keyof typeof NodeService) => (call: ServerUnaryCall<never, unknown>, reply: sendUnaryData<unknown>) => {
      asked.push({ method, request: call.request, authority: call.getHost(), deadline: call.getDeadline() })
      const work = async (): Promise<unknown> => (does[method] ?? good[method] ?? (() => ({})))(call)
      work().then(
        (value) => reply(null, value),
        (error) => reply(error),
      )
    }
  // Raw bytes pass as they are, so that a driver may answer garbage.
  const definition = Object.entries(NodeService).map(([method, { responseSerialize, ...rest }]) => [
    method,
    {
      ...rest,
      responseSerialize: (value: unknown) =>
        Buffer.isBuffer(value) ? value : (responseSerialize as (value: unknown) => Buffer)(filled(method, value)),
    },
  ])
  const names = Object.keys(NodeService) as (keyof typeof NodeService)[]
  server.addService(
    Object.fromEntries(definition) as never,
    Object.fromEntries(names.map((method) => [method, answer(method)])) as never,
  )
  // Connections are its own to break, as a death does; the server would end them with manners.
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure())
  const sockets = new Set<Socket>()
  const listener = createListener((socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    injector.injectConnection(socket)
  })
  await new Promise<void>((resolve) => listener.listen(endpoint, resolve))
  const kill = (): void => {
    listener.close()
    for (const socket of sockets) socket.destroy()
  }
  return {
    endpoint,
    asked,
    does,
    kill,
    async [Symbol.asyncDispose]() {
      kill()
      server.forceShutdown()
    },
  }
}

/** Fields that a message must have, for those that a behaviour leaves out. */
const filled = (method: string, value: unknown): unknown =>
  method === 'nodeGetInfo' ? { nodeId: '', maxVolumesPerNode: 0n, ...(value as object) } : value

/** Speaks HTTP/2, but what it does with a call is not gRPC. */
export async function serveRaw(endpoint: string, does: (stream: ServerHttp2Stream) => void): Promise<AsyncDisposable> {
  const sessions = new Set<ServerHttp2Session>()
  const server = createServer()
  server.on('session', (session) => sessions.add(session))
  server.on('stream', (stream) => {
    stream.on('error', () => {}) // It is broken on purpose.
    stream.on('data', () => {})
    does(stream as ServerHttp2Stream)
  })
  await new Promise<void>((resolve) => server.listen(endpoint, resolve))
  return {
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy()
      server.close()
    },
  }
}

/** A folder for sockets, with what is closed before it is removed. */
export async function socketFolder(): Promise<{ folder: string; opened: AsyncDisposableStack } & AsyncDisposable> {
  const folder = await mkdtemp(join(tmpdir(), 'csi-'))
  const opened = new AsyncDisposableStack()
  opened.defer(async () => rm(folder, { recursive: true, force: true }))
  return { folder, opened, [Symbol.asyncDispose]: async () => opened.disposeAsync() }
}
