// One call of a driver: over a connection of its own, so that a driver that has come back is reached at once.
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import type { Logger } from '../log.ts'
import { badAnswer, type CsiError, csiErrorFrom, goCode } from './csi-error.ts'

/** A call that has ended: one observation of `csi_operations_seconds`. */
export interface CsiOperation {
  /** `driver_name` */
  driver: string
  /** `method_name`, for instance `/csi.v1.Node/NodeStageVolume`. */
  method: string
  /** `grpc_status_code` as Go has it: `OK`, `DeadlineExceeded`. */
  code: string
  /** Whether it was for a volume that is `migrated`. */
  migrated: boolean
  seconds: number
}

export interface Caller {
  driver: string
  /** A socket's path. */
  endpoint: string
  /** Deadline of a call, in milliseconds. */
  timeoutMs: number
  observed(operation: CsiOperation): void
  log: Logger
}

/** Of the generated service. */
export interface Method<Request, Response> {
  path: string
  requestSerialize(value: Request): Buffer
  responseDeserialize(value: Buffer): Response
}

/**
 * @param hide takes the request's secrets out of what the driver says
 * @param migrated of the volume, for who counts
 * @throws CsiError; the signal's reason
 */
export async function callDriver<Request, Response>(
  caller: Caller,
  method: Method<Request, Response>,
  request: Request,
  hide: (text: string) => string,
  migrated: boolean,
  signal: AbortSignal,
): Promise<Response> {
  signal.throwIfAborted()
  const bytes = method.requestSerialize(request)
  const began = performance.now()
  const told = (code: status): void => {
    const operation = { driver: caller.driver, method: method.path, code: goCode(code), migrated }
    const seconds = (performance.now() - began) / 1000
    caller.log.debug({ ...operation, seconds }, 'a CSI driver was called')
    caller.observed({ ...operation, seconds })
  }
  try {
    const answer = await exchange(caller, method.path, bytes, signal)
    const response = decoded(method, answer)
    told(response instanceof Error ? status.INTERNAL : status.OK)
    if (response instanceof Error) throw response
    return response
  } catch (error) {
    if (!isServiceError(error)) throw error
    told(signal.aborted ? status.CANCELLED : error.code)
    throw signal.aborted ? signal.reason : csiErrorFrom(error, hide)
  }
}

/** @throws ServiceError */
async function exchange(
  { endpoint, timeoutMs }: Caller,
  path: string,
  bytes: Buffer,
  signal: AbortSignal,
): Promise<Buffer> {
  const client = new Client(`unix://${endpoint}`, credentials.createInsecure(), {
    'grpc.default_authority': 'localhost',
    'grpc.use_local_subchannel_pool': 1,
  })
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  // Decoded outside: gRPC would make an error of the driver out of an answer that cannot be.
  const asIs = (value: Buffer): Buffer => value
  const deadline = { deadline: Date.now() + timeoutMs }
  const call = client.makeUnaryRequest<Buffer, Buffer>(
    path,
    asIs,
    asIs,
    bytes,
    new Metadata(),
    deadline,
    (error, answer) => {
      if (error) reject(error)
      else resolve(answer ?? Buffer.alloc(0))
    },
  )
  const cancel = (): void => call.cancel()
  signal.addEventListener('abort', cancel, { once: true })
  try {
    return await promise
  } finally {
    signal.removeEventListener('abort', cancel)
    client.close()
  }
}

function decoded<Response>(
  { path, responseDeserialize }: Method<never, Response>,
  answer: Buffer,
): Response | CsiError {
  try {
    return responseDeserialize(answer)
  } catch {
    return badAnswer(rpcName(path), 'no message of this call')
  }
}

/** `/csi.v1.Node/NodeGetInfo` → `NodeGetInfo` */
const rpcName = (path: string): string => path.slice(path.lastIndexOf('/') + 1)

const isServiceError = (error: unknown): error is ServiceError =>
  error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error
