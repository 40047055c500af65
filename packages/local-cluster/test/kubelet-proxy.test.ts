// The way to the kubelet: paths as data, and bytes through the real API server to a real TLS peer.
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer, request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { createKubeClient, loadKubeconfig, mergePatch, nodes, pods } from '@nodelet/kube-client'
import type { KubeClient } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startCluster } from '../src/cluster.ts'
import type { Cluster } from '../src/cluster.ts'
import { containerOf, kubeletPath } from '../src/kubelet-proxy.ts'
import type { ConnectTarget } from '../src/kubelet-proxy.ts'
import { openPki } from '../src/pki.ts'
import type { KeyPair } from '../src/pki.ts'

const pod = (containers: string[], more: { init?: string[]; main?: string } = {}): Pod => ({
  metadata: {
    name: 'web',
    ...(more.main && { annotations: { 'kubectl.kubernetes.io/default-container': more.main } }),
  },
  spec: {
    nodeName: 'one',
    containers: containers.map((name) => ({ name })),
    initContainers: (more.init ?? []).map((name) => ({ name })),
  },
})

test.each<[string, Pod, string, string]>([
  ['the only one', pod(['a']), '', 'a'],
  ['a named one', pod(['a', 'b']), 'b', 'b'],
  ['an init container', pod(['a'], { init: ['i'] }), 'i', 'i'],
  ['the default one', pod(['a', 'b'], { main: 'b' }), '', 'b'],
])('container: %s', (_, of, asked, expected) => {
  expect(containerOf(of, asked)).toBe(expected)
})

test('containers that are not there, or not said', () => {
  expect(() => containerOf(pod(['a']), 'x')).toThrow(/^container x is not valid for pod web$/)
  expect(() => containerOf(pod(['a', 'b']), '')).toThrow(
    /^a container name must be specified for pod web, choose one of: \[a b\]$/,
  )
  expect(() => containerOf(pod(['a', 'b'], { init: ['i'] }), '')).toThrow(
    /choose one of: \[a b\] or one of the init containers: \[i\]$/,
  )
})

test.each<[ConnectTarget['subresource'], string, string]>([
  ['log', '', '/containerLogs/shop/web/a'],
  ['log', 'container=a&follow=true&tailLines=5', '/containerLogs/shop/web/a?follow=true&tailLines=5'],
  [
    'exec',
    'command=sh&command=-c&command=echo+%26&stdin=true&stdout=true&stderr=false&tty=1',
    '/exec/shop/web/a?command=sh&command=-c&command=echo+%26&input=1&output=1&tty=1',
  ],
  ['attach', 'stdout=true&stderr=true', '/attach/shop/web/a?output=1&error=1'],
  ['portforward', 'ports=80', '/portForward/shop/web?ports=80'],
])('%s?%s is %s', (subresource, query, expected) => {
  const target = { kind: 'pods', namespace: 'shop', name: 'web', subresource, path: '' } as const
  expect(kubeletPath({ ...target, query: new URLSearchParams(query), pod: pod(['a']) })).toBe(expected)
})

describe('through the API server', () => {
  let dataDir = ''
  let cluster: Cluster
  let client: KubeClient
  let admin: KeyPair
  let kubelet: Server
  let seen: { url: string; user: string; authorization: string | undefined }[] = []
  let respond: (request: IncomingMessage, response: ServerResponse) => void = () => {}

  const look = (incoming: IncomingMessage): void => {
    const { subject } = (incoming.socket as TLSSocket).getPeerCertificate()
    seen.push({
      url: incoming.url ?? '',
      user: `${String(subject.O)}/${String(subject.CN)}`,
      authorization: incoming.headers.authorization,
    })
  }
  const listen = async (port: number): Promise<number> => {
    const { certificate: cert, key, clientCa: ca } = cluster.kubelet
    kubelet = createServer({ cert, key, ca, requestCert: true, rejectUnauthorized: true }, (incoming, response) => {
      look(incoming)
      respond(incoming, response)
    })
    kubelet.on('upgrade', (incoming: IncomingMessage, socket: Duplex, head: Buffer) => {
      look(incoming)
      if (incoming.url?.includes('command=refused')) {
        socket.end('HTTP/1.1 403 Forbidden\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n')
        return
      }
      // The first bytes come together with the answer.
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${incoming.headers.upgrade}\r\n\r\nhi:`,
      )
      socket.write(head)
      socket.pipe(socket)
    })
    kubelet.listen(port, '127.0.0.1')
    await once(kubelet, 'listening')
    return (kubelet.address() as AddressInfo).port
  }
  const close = async (): Promise<void> => {
    const closed = once(kubelet, 'close')
    kubelet.close()
    kubelet.closeAllConnections()
    await closed
  }
  let port = 0

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'cluster-'))
    cluster = await startCluster({ dataDir, port: 0, nodeName: 'one', nodeIPs: ['127.0.0.1'] })
    const folder = join(dataDir, 'pki')
    const at = { folder, nodeName: 'one', nodeIPs: ['127.0.0.1'], serviceIP: '10.96.0.1', address: '127.0.0.1' }
    admin = (await openPki(at)).admin
    client = createKubeClient(await loadKubeconfig(cluster.kubeconfigs.admin))
    port = await listen(0)
    await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'one' } })
    const status = {
      addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
      daemonEndpoints: { kubeletEndpoint: { Port: port } },
    }
    await client.patch(nodes, { name: 'one' }, mergePatch({ status }), { subresource: 'status' })
    for (const [name, nodeName] of [
      ['web', 'one'],
      ['waiting', ''],
    ] as const) {
      await client.create(pods, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'default' },
        spec: {
          schedulerName: 'none',
          ...(nodeName && { nodeName }),
          containers: [{ name: 'main', image: 'web:1' }],
        },
      })
    }
  })
  afterAll(async () => {
    await client.close()
    await close()
    await cluster.close()
    await rm(dataDir, { recursive: true, force: true })
  })
  beforeEach(() => {
    seen = []
  })

  const logs = async (name: string, query = {}): Promise<string> =>
    (await client.raw({ path: `/api/v1/namespaces/default/pods/${name}/log`, query })).body.text()

  test('logs come as they are written, asked for by the API server in its own name', async () => {
    const { promise: written, resolve: goOn } = Promise.withResolvers<void>()
    respond = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/plain' }).write('one\n')
      void written.then(() => response.end('two\n'))
    }
    const { body } = await client.raw({ path: '/api/v1/namespaces/default/pods/web/log', query: { follow: true } })
    let text = ''
    for await (const chunk of body) {
      text += Buffer.from(chunk).toString()
      if (text === 'one\n') goOn()
    }
    expect(text).toBe('one\ntwo\n')
    expect(seen).toEqual([
      {
        url: '/containerLogs/default/web/main?follow=true',
        user: 'system:masters/kube-apiserver-kubelet-client',
        authorization: undefined,
      },
    ])
  })

  test('who leaves a log early ends it at the kubelet', async () => {
    const left = Promise.withResolvers<void>()
    respond = (_, response) => {
      response.writeHead(200).write('one\n')
      response.once('close', left.resolve)
    }
    const { body } = await client.raw({ path: '/api/v1/namespaces/default/pods/web/log', query: { follow: true } })
    for await (const _ of body) break
    await left.promise
  })

  test('a reader that pauses makes the kubelet wait', async () => {
    let sent = 0
    const total = 64 * 2 ** 20
    const chunk = Buffer.alloc(2 ** 16)
    respond = (_, response) => {
      const more = (): void => {
        while (sent < total) {
          sent += chunk.length
          if (!response.write(chunk)) return void response.once('drain', more)
        }
        response.end()
      }
      more()
    }
    const { body } = await client.raw({ path: '/api/v1/namespaces/default/pods/web/log' })
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(sent).toBeLessThan(total)
    let read = 0
    for await (const part of body) read += part.length
    expect(read).toBe(total)
  })

  test.each([
    [400, 'container "main" in pod "web" is waiting to start: ContainerCreating', 400, 'BadRequest', ''],
    [404, 'pod "web" not found', 404, 'NotFound', ''],
    [500, 'disk on fire', 500, 'InternalError', 'Internal error occurred: '],
  ])('a refusal of %d is told in the words of the kubelet', async (status, text, code, reason, prefix) => {
    respond = (_, response) => void response.writeHead(status).end(text)
    const error: unknown = await logs('web').catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code, reason, message: expect.stringContaining(`${prefix}${text}`) as string })
  })

  test('a pod without a node has no lines, and nothing to run a command in', async () => {
    expect(await logs('waiting')).toBe('')
    await expect(logs('waiting', { container: 'x' })).rejects.toThrow(/container x is not valid for pod waiting/)
    const { status, body } = await upgrade('/api/v1/namespaces/default/pods/waiting/exec?command=ls&stdout=true')
    expect(status).toBe(400)
    expect(JSON.parse(body)).toMatchObject({ message: 'pod waiting does not have a host assigned' })
    expect(seen).toEqual([])
  })

  const upgrade = async (path: string): Promise<{ status: number; body: string; socket: Duplex | undefined }> => {
    const { hostname, port: apiPort } = new URL(cluster.url)
    const outgoing = request({
      host: hostname,
      port: apiPort,
      path,
      method: 'POST',
      headers: { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': 'v4.channel.k8s.io' },
      ca: cluster.kubelet.clientCa,
      cert: admin.certificate,
      key: admin.key,
      agent: false,
    })
    outgoing.end()
    const answer = Promise.withResolvers<{ status: number; body: string; socket: Duplex | undefined }>()
    outgoing.once('error', answer.reject)
    outgoing.once('upgrade', (response: IncomingMessage, socket: Duplex, head: Buffer) => {
      if (head.length > 0) socket.unshift(head)
      answer.resolve({ status: response.statusCode ?? 0, body: '', socket })
    })
    outgoing.once('response', (response: IncomingMessage) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('end', () =>
        answer.resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString(), socket: undefined }),
      )
    })
    return answer.promise
  }
  const exec = '/api/v1/namespaces/default/pods/web/exec'

  test('an upgraded connection is passed byte for byte', async () => {
    const { status, socket } = await upgrade(`${exec}?command=cat&stdin=true&stdout=true`)
    expect(status).toBe(101)
    const sent = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251))
    let got = Buffer.alloc(0)
    const all = Promise.withResolvers<void>()
    socket?.on('data', (chunk: Buffer) => {
      got = Buffer.concat([got, chunk])
      if (got.length >= sent.length + 3) all.resolve()
    })
    socket?.write(sent)
    await all.promise
    expect(got.subarray(0, 3).toString()).toBe('hi:')
    expect(got.subarray(3).equals(sent)).toBe(true)
    expect(seen[0]?.url).toBe('/exec/default/web/main?command=cat&input=1&output=1')
    const ended = once(socket as Duplex, 'close')
    socket?.end()
    await ended
  })

  test('a refused upgrade reaches the client whole', async () => {
    expect(await upgrade(`${exec}?command=refused&stdout=true`)).toMatchObject({ status: 403, body: 'no' })
  })

  test('the node’s own paths', async () => {
    respond = (incoming, response) => void response.end(incoming.url)
    const { body } = await client.raw({ path: '/api/v1/nodes/one/proxy/stats/summary', query: { only: 'cpu' } })
    expect(await body.text()).toBe('/stats/summary?only=cpu')
  })

  test('a kubelet that is down is named', async () => {
    await close()
    try {
      await expect(logs('web')).rejects.toThrow(
        `Get "https://127.0.0.1:${port}/containerLogs/default/web/main": dial tcp 127.0.0.1:${port}: connect: connection refused`,
      )
      const { status, body } = await upgrade(`${exec}?command=cat&stdout=true`)
      expect(status).toBe(500)
      expect(JSON.parse(body)).toMatchObject({
        kind: 'Status',
        message: `error dialing backend: dial tcp 127.0.0.1:${port}: connect: connection refused`,
      })
    } finally {
      await listen(port)
    }
  })
})
