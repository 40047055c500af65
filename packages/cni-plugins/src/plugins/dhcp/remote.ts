// The way to a daemon that holds leases: one line of JSON to it, one back.
import { createConnection } from 'node:net'
import type { Socket } from 'node:net'
import { z } from 'zod'
import { checked, parsedJson } from '../../checked.ts'
import { CniError, cniCode } from '../../errors.ts'
import type { AttachmentKey } from '../../types.ts'
import type { Lease } from './lease.ts'
import type { LeaseHolder, LeaseRequest } from './leases.ts'
import { leaseSchema, requestSchema } from './records.ts'

export const defaultSocketPath = '/run/cni/dhcp.sock'
const longestLine = 1024 * 1024

const keySchema = z.object({ network: z.string(), containerId: z.string(), ifName: z.string() })
const attachment = z.object({ containerId: z.string(), ifName: z.string() })
/** What the daemon is asked. */
export type Question =
  | { method: 'allocate'; params: LeaseRequest }
  | { method: 'release'; params: AttachmentKey & { network: string } }
  | { method: 'releaseOthers'; params: { network: string; valid: AttachmentKey[] } }
  | { method: 'ping' }
const questionSchema: z.ZodType<Question> = z.discriminatedUnion('method', [
  z.object({ method: z.literal('allocate'), params: requestSchema }),
  z.object({ method: z.literal('release'), params: keySchema }),
  z.object({
    method: z.literal('releaseOthers'),
    params: z.object({ network: z.string(), valid: z.array(attachment) }),
  }),
  z.object({ method: z.literal('ping') }),
])

export type Answer =
  { error: { code: number; msg: string; details?: string | undefined } } | { lease?: Lease | undefined }
const answerSchema: z.ZodType<Answer> = z.union([
  z.object({ error: z.object({ code: z.number().int(), msg: z.string(), details: z.string().optional() }) }),
  z.object({ lease: leaseSchema.optional() }),
])

/** @throws CniError naming the field */
export const parseQuestion = (line: string): Question =>
  checked('question', questionSchema, parsedJson('question', line), cniCode.decoding)
/** @throws CniError naming who answers, and the field */
export const parseAnswer = (whose: string, line: string): Answer =>
  checked(whose, answerSchema, parsedJson(whose, line), cniCode.decoding)

export interface RemoteLeases extends LeaseHolder {
  /** Whether the daemon is there. */
  ping(signal: AbortSignal): Promise<void>
}

/** A failure of the daemon's is told as it is there. */
export function remoteLeases(path: string): RemoteLeases {
  const ask = async (question: Question, signal: AbortSignal): Promise<Answer & { error?: never }> => {
    const answer = parseAnswer(`the DHCP daemon at ${path}`, await exchange(path, question, signal))
    if (!('error' in answer)) return answer
    const { code, msg, details } = answer.error
    throw new CniError(code, msg, { details })
  }
  return {
    allocate: async (params, signal) => {
      const { lease } = await ask({ method: 'allocate', params }, signal)
      if (lease) return lease
      throw new CniError(cniCode.decoding, `the DHCP daemon at ${path} answers without a lease`)
    },
    release: async (params, signal) => void (await ask({ method: 'release', params }, signal)),
    releaseOthers: async (network, valid, signal) =>
      void (await ask({ method: 'releaseOthers', params: { network, valid: [...valid] } }, signal)),
    ping: async (signal) => void (await ask({ method: 'ping' }, signal)),
  }
}

/** Going away is how to say that the answer is not wanted any more. */
async function exchange(path: string, question: Question, signal: AbortSignal): Promise<string> {
  signal.throwIfAborted()
  const socket = createConnection({ path, signal })
  try {
    socket.write(`${JSON.stringify(question)}\n`)
    return await lineOf(socket)
  } catch (cause) {
    if (signal.aborted) throw signal.reason
    throw new CniError(cniCode.internal, `error dialing DHCP daemon: ${path}: ${(cause as Error).message}`, { cause })
  } finally {
    socket.destroy()
  }
}

/** The first line that comes. @throws when there is none, or when it is too long */
export async function lineOf(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('utf8')
  for await (const part of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<string>) {
    text += part
    const end = text.indexOf('\n')
    if (end >= 0) return text.slice(0, end)
    if (text.length > longestLine) throw new Error(`the line is longer than ${longestLine} characters`)
  }
  throw new Error('the other side ended before it said anything')
}
