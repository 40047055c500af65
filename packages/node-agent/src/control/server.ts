// The agent's control socket: for root on this machine only.
import { chmod, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { once } from 'node:events'
import { json } from 'node:stream/consumers'
import type { Inquiry, InquiryAnswer, Proxier } from '@nodelet/proxy-rules'
import type { Images } from '@nodelet/runtime-runc'
import { z } from 'zod'
import { messageOf } from '../errors.ts'
import { runImageCommand } from './images.ts'
import { imageRequest, traceRequest } from './protocol.ts'
import type { AgentStatus, Answer } from './protocol.ts'

export interface Served {
  status: AgentStatus
  images: Images | undefined
  proxier: Pick<Proxier, 'trace'> | undefined
}

/** Serves until disposed. A socket that an ended agent left is replaced; ask {@link agentStatus} first. */
export async function serveControl(path: string, served: Served): Promise<AsyncDisposable> {
  const server = createServer((request, response) => {
    answer(request, response, served).catch((error: unknown) => response.destroy(error as Error))
  })
  await rm(path, { force: true })
  server.listen(path)
  await once(server, 'listening')
  await chmod(path, 0o600)
  return {
    [Symbol.asyncDispose]: async () => {
      server.close()
      server.closeAllConnections()
      await rm(path, { force: true })
    },
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { status, images, proxier }: Served,
): Promise<void> {
  if (request.method === 'GET' && request.url === '/status') {
    response.end(JSON.stringify(status))
    return
  }
  if (request.method === 'POST' && request.url === '/trace') {
    const inquiry = traceRequest.safeParse(await json(request))
    response.end(
      JSON.stringify(inquiry.success ? tracedBy(proxier, inquiry.data) : { error: z.prettifyError(inquiry.error) }),
    )
    return
  }
  const asked = request.url === '/image' ? imageRequest.safeParse(await json(request)) : undefined
  if (!asked?.success || !images) {
    response
      .writeHead(404)
      .end(JSON.stringify({ error: `${request.method} ${request.url}: not something this agent does` }))
    return
  }
  const leaving = new AbortController()
  response.on('close', () => leaving.abort(new Error('the client left')))
  const say = async (line: Answer): Promise<void> => {
    if (!response.write(`${JSON.stringify(line)}\n`)) await once(response, 'drain', { signal: leaving.signal })
  }
  try {
    for await (const line of runImageCommand(images, asked.data, leaving.signal)) await say(line)
  } catch (error) {
    if (!leaving.signal.aborted) await say({ error: messageOf(error) })
  }
  response.end()
}

function tracedBy(proxier: Served['proxier'], inquiry: Inquiry): InquiryAnswer | { error: string } {
  if (!proxier) return { error: 'this agent runs no service proxy' }
  try {
    return proxier.trace(inquiry)
  } catch (error) {
    return { error: messageOf(error) }
  }
}
