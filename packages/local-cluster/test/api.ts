// An API server without controllers, in a folder of its own.
import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import { createApiServer } from '../src/api/server.ts'
import { createIdentity } from '../src/identity.ts'
import { firstServiceIP } from '../src/kinds/services.ts'
import { createKubeletProxy } from '../src/kubelet-proxy.ts'
import { openPki } from '../src/pki.ts'
import { openStore } from '../src/store.ts'

export interface Answer {
  status: number
  type: string
  text: string
}

export interface Call {
  method: string
  path: string
  headers?: Record<string, string>
  body?: string
  /** False: no client certificate. */
  certificate?: boolean
  /** Runs when the head of the answer is there. */
  opened?: () => Promise<void>
  /** The body is read when this is resolved. */
  unread?: Promise<void>
  /** The client leaves. */
  signal?: AbortSignal
}

export interface TestApi extends AsyncDisposable {
  port: number
  /** PEM of who may do everything. */
  admin: { ca: string; cert: string; key: string }
  /** Over HTTP/1.1. */
  call(call: Call): Promise<Answer>
}

export async function startApi(serviceCidr = '10.96.0.0/16'): Promise<TestApi> {
  await using starting = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'nodelet-api-'))
  starting.defer(async () => rm(folder, { recursive: true, force: true }))
  const address = '127.0.0.1'
  const serviceIP = firstServiceIP(serviceCidr)
  const pki = await openPki({ folder: join(folder, 'pki'), nodeName: 'n1', nodeIPs: [address], serviceIP, address })
  const store = starting.use(openStore(join(folder, 'cluster.db')))
  const identity = createIdentity(store, pki.tokens)
  const connect = createKubeletProxy({
    nodeOf: (name) => store.get('nodes', '', name) as unknown as Node | undefined,
    clientCertificate: pki.kubeletClient.certificate,
    clientKey: pki.kubeletClient.key,
    ca: pki.ca.certificate,
  })
  const server = await createApiServer({
    store,
    certificate: pki.apiServer.certificate,
    key: pki.apiServer.key,
    clientCa: pki.ca.certificate,
    address,
    port: 0,
    serviceCidr,
    nodePorts: [30_000, 32_767],
    authenticate: identity.authenticate,
    identity,
    connect,
  })
  starting.defer(async () => server.close())
  const running = starting.move()
  const call = async ({
    method,
    path,
    headers,
    body,
    certificate = true,
    opened,
    unread,
    signal,
  }: Call): Promise<Answer> => {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    const own = certificate ? { cert: pki.admin.certificate, key: pki.admin.key } : {}
    const options = {
      host: address,
      port: server.port,
      method,
      path,
      ca: pki.ca.certificate,
      agent: false,
      ...own,
      ...(signal && { signal }),
    }
    // Node sends the body of a DELETE only with its length.
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const sent = request({ ...options, headers: { ...headers, ...length } }, (response) => {
      const ready = opened?.()
      Promise.resolve(unread)
        .then(async () => response.toArray())
        .then(async (chunks: Buffer[]) => {
          await ready
          const type = response.headers['content-type'] ?? ''
          resolve({ status: response.statusCode ?? 0, type, text: Buffer.concat(chunks).toString() })
        })
        .catch(reject)
    })
    sent.on('error', reject).end(body)
    return promise
  }
  const admin = { ca: pki.ca.certificate, cert: pki.admin.certificate, key: pki.admin.key }
  return { port: server.port, admin, call, [Symbol.asyncDispose]: async () => running.disposeAsync() }
}
