// One plugin of a DRA driver, as the kubelet calls it.
import { Client, connectivityState, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import type { Clock } from '../clock.ts'
import { called } from '../grpc-call.ts'
import { claimDeviceOf, outcomes } from './answers.ts'
import { followHealth, type Health } from './health.ts'
import { type DraVersion, draService } from './service.ts'
import type { ClaimDevice, ClaimRef } from './state.ts'

/** Claim UID → the devices that were prepared, none when unprepared; or why not. */
export type Outcomes = Map<string, ClaimDevice[] | Error>

export interface DriverPlugin {
  /** Whether somebody listens. */
  readonly connected: boolean
  /** Of a device. */
  health(pool: string, device: string): Health
  /** @throws Error of the plugin that concerns all claims */
  prepare(claims: readonly ClaimRef[], signal: AbortSignal): Promise<Outcomes>
  /** @throws Error of the plugin that concerns all claims */
  unprepare(claims: readonly ClaimRef[], signal: AbortSignal): Promise<Outcomes>
  close(): void
}

export interface DriverPluginOptions {
  /** A socket. */
  endpoint: string
  version: DraVersion
  /** Whether it tells how its devices are. */
  tellsHealth: boolean
  /** `connected` is another now. */
  changed(): void
  /** The health of a device is another now. */
  healthChanged(): void
  /** A call has ended: its path, the name of its status, how long it took. */
  called?: ((method: string, code: string, seconds: number) => void) | undefined
  clock: Clock
}

/** How long a driver may take for a call, in milliseconds. */
const callMs = 45_000
/** Between tries to reach a driver that is gone: far less than it may be away. */
const reconnectMs = 5000

export function openDriverPlugin(options: DriverPluginOptions): DriverPlugin {
  const service = draService(options.version)
  const client = new Client(`unix://${options.endpoint}`, credentials.createInsecure(), {
    'grpc.max_reconnect_backoff_ms': reconnectMs,
    // A plugin that comes back on the same path is not kept waiting for what was found of the one before.
    'grpc.use_local_subchannel_pool': 1,
  })
  const channel = client.getChannel()
  let connected = false
  let closed = false

  /** Connects, again after each loss: nobody else would notice that a driver has come back. */
  const follow = (): void => {
    if (closed) return
    const state = channel.getConnectivityState(true)
    if (connected !== (state === connectivityState.READY)) {
      connected = !connected
      options.changed()
    }
    channel.watchConnectivityState(state, Infinity, follow)
  }
  follow()
  const health = options.tellsHealth ? followHealth(channel, options.healthChanged, options.clock) : undefined

  const call = async <Request, Response>(
    name: string,
    method: { path: string; requestSerialize(value: Request): Buffer; responseDeserialize(value: Buffer): Response },
    request: Request,
    signal: AbortSignal,
  ): Promise<Response> => {
    const began = performance.now()
    const told = (code: status): void => options.called?.(method.path, status[code], (performance.now() - began) / 1000)
    try {
      const { path, requestSerialize, responseDeserialize } = method
      const answer = await called<Response>(
        (deadline, reply) =>
          client.makeUnaryRequest(
            path,
            requestSerialize,
            responseDeserialize,
            request,
            new Metadata(),
            deadline,
            reply,
          ),
        callMs,
        signal,
      )
      told(status.OK)
      return answer
    } catch (error) {
      told(isServiceError(error) ? error.code : status.CANCELLED)
      throw signal.aborted ? error : new Error(`${name}: ${(error as Error).message}`, { cause: error })
    }
  }

  return {
    get connected() {
      return connected
    },
    health: (pool, device) => health?.of(pool, device) ?? 'Unknown',
    async prepare(claims, signal) {
      const name = 'NodePrepareResources'
      const answer = await call(name, service.nodePrepareResources, { claims: [...claims] }, signal)
      return mapped(outcomes(name, claims, answer.claims), ({ devices }) => devices.map(claimDeviceOf))
    },
    async unprepare(claims, signal) {
      const name = 'NodeUnprepareResources'
      const answer = await call(name, service.nodeUnprepareResources, { claims: [...claims] }, signal)
      return mapped(outcomes(name, claims, answer.claims), () => [])
    },
    close() {
      closed = true
      health?.[Symbol.dispose]()
      client.close()
    },
  }
}

const isServiceError = (error: unknown): error is ServiceError => error instanceof Error && 'code' in error

const mapped = <T>(all: Map<string, T | Error>, devicesOf: (answer: T) => ClaimDevice[]): Outcomes =>
  new Map([...all].map(([uid, one]) => [uid, one instanceof Error ? one : devicesOf(one)]))
