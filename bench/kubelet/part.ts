// A process of the benchmark that runs parts of a node, and answers what they cost: forked by peers.ts.
import { subscribe } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { TLSSocket } from 'node:tls'
import { parseConfig, startNode } from '@nodelet/node-agent'
import { pino } from 'pino'
import { makeDemoImage } from '../../packages/node-agent/src/demo/image.ts'
import type { Answer, Question } from './peers.ts'

const RESOLUTION = 2
const config = parseConfig(JSON.parse(process.argv[2] ?? ''), 'benchmark')
const log = pino({ level: process.env.NODELET_BENCH_LOG ?? 'silent' }, process.stderr)
const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
const requests: Record<string, number> = {}
const ofNodes = new WeakMap<object, boolean>()
subscribe('http.server.request.start', (message) => {
  const { method = '', url = '', socket } = (message as { request: IncomingMessage }).request
  count(method, url, socket as TLSSocket)
})
subscribe('http2.server.stream.start', (message) => {
  const { stream, headers } = message as { stream: ServerHttp2Stream; headers: IncomingHttpHeaders }
  const { session } = stream
  if (session) count(headers[':method'] ?? '', headers[':path'] ?? '', session.socket as TLSSocket, session)
})

function count(method: string, url: string, socket: TLSSocket, connection: object = socket): void {
  const isOfNode = ofNodes.get(connection) ?? String(socket.getPeerCertificate().subject?.CN).startsWith('system:node:')
  ofNodes.set(connection, isOfNode)
  if (!isOfNode) return
  const [path = '', query = ''] = url.split('?')
  const key = `${query.includes('watch=') ? 'WATCH' : method} ${kindOf(path)}`
  requests[key] = (requests[key] ?? 0) + 1
}

/** `pods` of `/api/v1/namespaces/default/pods/one`, `pods/status` of what is below it. */
function kindOf(path: string): string {
  const words = path.split('/').filter((word) => word !== '')
  const rest = words.slice(words[0] === 'api' ? 2 : 3)
  const [kind = '', , sub] = rest[0] === 'namespaces' && rest.length > 2 ? rest.slice(2) : rest
  return sub === undefined ? kind : `${kind}/${sub}`
}

const node = await startNode(config, log)
const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - RESOLUTION)

async function answer(question: Question): Promise<Answer> {
  switch (question.what) {
    case 'image': {
      await node.images?.importArchive(await makeDemoImage(question.folder, question.image), {
        reference: question.image,
      })
      return {}
    }
    case 'requests': {
      return { requests }
    }
    case 'watch-loop': {
      delay.reset()
      delay.enable()
      return {}
    }
    case 'loop': {
      delay.disable()
      return { loop: { p99: late(delay.percentile(99)), max: late(delay.max) } }
    }
    case 'close':
    case 'end': {
      if (question.what === 'end') await node.kubelet?.removeAllPods()
      await node.close()
      return {}
    }
  }
}

process.on('message', (question: Question) => {
  answer(question).then(
    (value) => {
      process.send?.({ id: question.id, ...value })
      if (question.what === 'close' || question.what === 'end') process.disconnect?.()
    },
    (error: unknown) => void process.send?.({ id: question.id, error: String(error) }),
  )
})
const { admin: kubeconfig, kubelet: ofKubelet } = node.cluster?.kubeconfigs ?? {}
process.send?.({ id: 0, kubeconfig, ofKubelet })
