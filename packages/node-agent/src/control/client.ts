// Asks a running agent.
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { createInterface } from 'node:readline'
import { json } from 'node:stream/consumers'
import type { Inquiry, InquiryAnswer } from '@nodelet/proxy-rules'
import type { AgentStatus, Answer, ImageRequest } from './protocol.ts'

/** How long an agent may take to say who it is, or what its rules do, in milliseconds. */
const patienceMs = 5_000

/** The agent that listens on the socket; undefined when none does. */
export async function agentStatus(socketPath: string): Promise<AgentStatus | undefined> {
  return (await askOnce(socketPath, 'GET', '/status')) as AgentStatus | undefined
}

/** What the rules of a running agent do with a packet; undefined when none runs. */
export async function askTrace(
  socketPath: string,
  inquiry: Inquiry,
): Promise<InquiryAnswer | { error: string } | undefined> {
  const answer = await askOnce(socketPath, 'POST', '/trace', JSON.stringify(inquiry))
  return answer as InquiryAnswer | { error: string } | undefined
}

async function askOnce(socketPath: string, method: string, path: string, body?: string): Promise<unknown> {
  try {
    return await json(await ask(socketPath, method, path, body, AbortSignal.timeout(patienceMs)))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined
    throw error
  }
}

/** Has a running agent do an image command. @throws Error with the agent's message */
export async function* askImages(
  socketPath: string,
  command: ImageRequest,
  signal: AbortSignal,
): AsyncGenerator<Answer, void, undefined> {
  const response = await ask(socketPath, 'POST', '/image', JSON.stringify(command), signal)
  for await (const line of createInterface({ input: response })) {
    const answer = JSON.parse(line) as Answer
    if ('error' in answer) throw new Error(answer.error)
    yield answer
  }
}

async function ask(
  socketPath: string,
  method: string,
  path: string,
  body: string | undefined,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  request({ socketPath, method, path, signal }, resolve).on('error', reject).end(body)
  return promise
}
