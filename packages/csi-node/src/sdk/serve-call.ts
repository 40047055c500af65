// A function of plain objects as a gRPC handler: checked, locked, logged, its errors told by code.
import type { handleUnaryCall } from '@grpc/grpc-js'
import { CsiError, grpcStatusOf } from './errors.ts'
import type { Locks } from './locks.ts'
import type { Logger } from '../log.ts'
import { masked } from './log.ts'
import type { Call } from './types.ts'

export interface Context {
  driver: string
  log: Logger
  locks: Locks
  signal: AbortSignal
  /** Work that goes on, also after its caller has gone. */
  running: Set<Promise<unknown>>
}

export interface Served<Request, Plain, Answer, Response> {
  rpc: string
  /** Absent: the driver does not claim the capability. */
  run: ((request: Plain, call: Call) => Promise<Answer> | Answer) | undefined
  parse(request: Request): Plain
  /** What no other call may work on meanwhile. */
  keys?(request: Plain): readonly string[]
  /** What others may use as well, and none may change. */
  shared?(request: Plain): readonly string[]
  respond(answer: Answer, request: Plain): Response
}

export function handler<Request, Plain, Answer, Response>(
  context: Context,
  { rpc, run, parse, keys = () => [], shared = () => [], respond }: Served<Request, Plain, Answer, Response>,
): handleUnaryCall<Request, Response> {
  const { driver, log, locks, signal, running } = context
  const answer = async (request: Request): Promise<Response> => {
    if (!run) throw new CsiError('UNIMPLEMENTED', `${driver} has no ${rpc}`)
    const plain = parse(request)
    log.debug({ rpc, request: masked(plain) }, 'call received')
    const call: Call = { signal, log }
    const said = await locks.hold(keys(plain), async () => run(plain, call), shared(plain))
    try {
      return respond(said, plain)
    } catch (error) {
      // Whatever its code: it is the driver that is wrong, not its caller.
      throw new Error(`the answer to ${rpc}: ${(error as Error).message}`, { cause: error })
    }
  }
  return ({ request }, reply) => {
    const work = answer(request).then(
      (response) => reply(null, response),
      (error: unknown) => {
        const { code, details } = grpcStatusOf(error)
        // First, so that the caller is not left waiting when the log fails.
        reply({ code, details })
        const report = error instanceof CsiError ? 'warn' : 'error'
        log[report]({ rpc, err: error, request: masked(request) }, 'call failed')
      },
    )
    running.add(work)
    void work.finally(() => running.delete(work))
  }
}

export const volumeKeys = ({ volumeId }: { volumeId: string }): string[] => [`volume ${volumeId}`]
