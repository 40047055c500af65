// Registries that ask to wait, hosts that do not answer, layers that are elsewhere, and redirects.
import { fork } from 'node:child_process'
import { createServer } from 'node:http'
import type { RequestListener, Server } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AuthConfig } from '@nodelet/cri-api'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { retryAfterOf } from '../src/image/retry.ts'
import { openImages } from '../src/index.ts'
import type { Images } from '../src/index.ts'
import { makeImage, startRegistry } from './registry.ts'
import type { TestImage, TestRegistry } from './registry.ts'
import { startFront } from './registry-front.ts'
import type { Front } from './registry-front.ts'

let registry: TestRegistry
let image: TestImage
let front: Front
let folder: string
let images: Images
let servers: Server[] = []

beforeAll(async () => {
  registry = await startRegistry(undefined, { validation: { manifests: { urls: { allow: ['^https?://'] } } } })
  image = await makeImage([[{ name: 'a', content: 'a'.repeat(1000) }], [{ name: 'b', content: 'b' }]])
  await registry.push('apps/one:1', image)
})
afterAll(async () => registry[Symbol.asyncDispose]())
beforeEach(async () => {
  front = await startFront(registry.host)
  folder = mkdtempSync(join(tmpdir(), 'nodelet-waits-'))
  images = await openImages({ root: join(folder, 'images'), registryConfigPath: join(folder, 'certs.d') })
})
afterEach(async () => {
  await images[Symbol.asyncDispose]()
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
  servers = []
  rmSync(folder, { recursive: true })
  await front[Symbol.asyncDispose]()
})

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

const now = Date.UTC(2026, 0, 1, 12, 0, 0)
test.each([
  ['7', 7000],
  [' 0 ', 0],
  ['Thu, 01 Jan 2026 12:00:30 GMT', 30_000],
  ['Thursday, 01-Jan-26 12:00:05 GMT', 5000],
  ['Thu, 01 Jan 2026 11:00:00 GMT', 0],
  ['Thu Jan  1 12:00:01 2026', 1000],
  ['soon', undefined],
  ['-3', undefined],
  ['', undefined],
])('Retry-After %j', (header, wait) => {
  expect(retryAfterOf(header, now)).toBe(wait)
})

test.each<[number, string, () => string, string]>([
  [429, 'seconds', () => '1', '/manifests/'],
  [503, 'seconds', () => '1', '/blobs/'],
  [429, 'a date', () => new Date(Date.now() + 2000).toUTCString(), '/blobs/'],
  [503, 'a date', () => new Date(Date.now() + 2000).toUTCString(), '/manifests/'],
])('%i with Retry-After as %s: it is asked again when that is over, not before', async (status, _, header, where) => {
  const times: number[] = []
  let until = 0
  front.meddle = ({ url = '' }, response, pass) => {
    if (!url.includes(where) || (where === '/blobs/' && !url.includes(image.id))) return pass()
    times.push(Date.now())
    if (times.length > 1) return pass()
    const wait = header()
    until = /^\d+$/.test(wait) ? Date.now() + Number(wait) * 1000 : Date.parse(wait)
    response.writeHead(status, { 'retry-after': wait }).end()
  }
  await images.pull(`${front.host}/apps/one:1`)
  expect(times.length).toBeGreaterThan(1)
  expect(times[1]).toBeGreaterThanOrEqual(until - 5) // timers may be early by a moment
})

/** A port where nobody takes connections and no more fit into the queue: one that asks waits. */
async function blackHole(): Promise<{ host: string } & AsyncDisposable> {
  const program = join(folder, 'hole.mjs')
  writeFileSync(
    program,
    `import { createServer } from 'node:net'
     const server = createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () =>
       process.send(server.address().port, () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)))`,
  )
  const child = fork(program)
  const [port] = (await once(child, 'message')) as [number]
  const fillers: Socket[] = []
  for (let isFull = false; !isFull;) {
    const socket = connect(port, '127.0.0.1').on('error', () => socket.destroy())
    fillers.push(socket)
    const late = new Promise<boolean>((resolve) => setTimeout(resolve, 500, true))
    isFull = await Promise.race([once(socket, 'connect').then(() => false), late])
  }
  return {
    host: `127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      for (const socket of fillers) socket.destroy()
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    },
  }
}

function configure(host: string, text: string): void {
  mkdirSync(join(folder, 'certs.d', host), { recursive: true })
  writeFileSync(join(folder, 'certs.d', host, 'hosts.toml'), text)
}

test('dial_timeout bounds how long a mirror is waited for', async () => {
  await using hole = await blackHole()
  const mirror = `[host."http://${hole.host}"]\ndial_timeout = "700ms"\n`
  configure('registry.invalid', `server = "http://${registry.host}"\n${mirror}`)
  const start = performance.now()
  await images.pull('registry.invalid/apps/one:1')
  expect(performance.now() - start).toBeGreaterThan(600)
  expect(performance.now() - start).toBeLessThan(15_000) // without it: 30 s
  await images.remove(image.id)
  configure('registry.invalid', `server = "http://${hole.host}"\ndial_timeout = "300ms"`)
  await expect(images.pull('registry.invalid/apps/one:1')).rejects.toThrow(
    new RegExp(`^RegistryUnavailable: .*Get "http://${hole.host}/v2/apps/one/manifests/1": .*(?:timeout|TIMEOUT)`, 'i'),
  )
})

/** Puts an image into the registry whose upper layer is only elsewhere. */
async function pushForeign(tag: string, urls: string[]): Promise<{ digest: string; content: Buffer }> {
  const [base = '', digest = ''] = image.layers
  const content = image.blobs.get(digest) ?? Buffer.alloc(0)
  const describe = (mediaType: string, of: string) => ({
    mediaType,
    digest: of,
    size: image.blobs.get(of)?.length ?? 0,
  })
  const docker = 'application/vnd.docker'
  const manifest = {
    schemaVersion: 2,
    mediaType: `${docker}.distribution.manifest.v2+json`,
    config: describe(`${docker}.container.image.v1+json`, image.id),
    layers: [
      describe(`${docker}.image.rootfs.diff.tar.gzip`, base),
      { ...describe(`${docker}.image.rootfs.foreign.diff.tar.gzip`, digest), urls },
    ],
  }
  const blobs = new Map([...image.blobs].filter(([name]) => name !== digest))
  for (const [name, blob] of blobs) await pushBlob(`apps/${tag}`, name, blob)
  await registry.putManifest(`apps/${tag}`, '1', manifest.mediaType, Buffer.from(JSON.stringify(manifest)))
  return { digest, content }
}
async function pushBlob(path: string, digest: string, blob: Buffer): Promise<void> {
  const started = await fetch(`http://${registry.host}/v2/${path}/blobs/uploads/`, { method: 'POST' })
  const url = new URL(started.headers.get('location') ?? '', `http://${registry.host}`)
  url.searchParams.set('digest', digest)
  expect((await fetch(url, { method: 'PUT', body: new Uint8Array(blob) })).status).toBe(201)
}

test('a foreign layer comes from where its manifest says, without our credentials; the digest decides', async () => {
  const seen: string[] = []
  let right: Buffer = Buffer.alloc(0)
  const host = await serve(({ url = '', headers }, response) => {
    seen.push(`${url} ${headers.authorization ?? 'nobody'} ${String(headers['x-mine'])}`)
    if (url === '/gone') return void response.writeHead(404).end()
    response.end(url === '/wrong' ? Buffer.alloc(right.length) : right)
  })
  const { content, digest } = await pushForeign(
    'foreign',
    ['gone', 'wrong', 'right'].map((at) => `http://${host}/${at}`),
  )
  right = content
  const login = `Basic ${Buffer.from('me:secret').toString('base64')}`
  const missed: string[] = []
  front.meddle = ({ url = '', headers }, response, pass) => {
    if (headers.authorization !== login) return void response.writeHead(401, { 'www-authenticate': 'Basic' }).end()
    if (url.includes(digest)) missed.push(url)
    pass()
  }
  configure(front.host, `[header]\nx-mine = "1"`)
  const auth = AuthConfig.fromPartial({ username: 'me', password: 'secret' })
  const pulled = await images.pull(`${front.host}/apps/foreign:1`, { auth })
  expect(pulled.id).toBe(image.id)
  expect(readFileSync(join(folder, 'images/blobs/sha256', digest.slice(7)))).toEqual(right)
  expect(missed).not.toEqual([]) // the registry is asked first
  expect(seen.slice(0, 2)).toEqual(['/gone nobody undefined', '/wrong nobody undefined'])
  expect(seen.at(-1)).toBe('/right nobody undefined')
})

test('a foreign layer that is nowhere: all that was asked is told', async () => {
  const host = await serve((_, response) => void response.writeHead(410).end())
  await pushForeign('nowhere', [`http://${host}/layer`])
  await expect(images.pull(`${registry.host}/apps/nowhere:1`)).rejects.toThrow(
    new RegExp(`failed to copy blob ${image.layers[1]} of .*: unexpected status from GET .*${host}/layer: 410 Gone`),
  )
})

test('a redirect to the same host keeps who we are and what it is told; one to another host drops both', async () => {
  const seen: string[] = []
  const tell = (where: string, headers: Record<string, unknown>): void =>
    void seen.push(`${where} ${String(headers['authorization'])} ${String(headers['x-mine'])}`)
  const storage = await serve((request, response) => {
    tell('storage', request.headers)
    response.end(image.blobs.get(/sha256:\w+/.exec(request.url ?? '')?.[0] ?? ''))
  })
  front.meddle = ({ url = '', headers }, response, pass) => {
    if (headers.authorization === undefined) return void response.writeHead(401, { 'www-authenticate': 'Basic' }).end()
    if (url.startsWith('/moved')) {
      tell('moved', headers)
      response.writeHead(307, { location: `http://${storage}${url}` }).end()
    } else if (url.includes('/blobs/')) response.writeHead(302, { location: `/moved${url}` }).end()
    else pass()
  }
  configure(front.host, `[header]\nx-mine = "1"`)
  await images.pull(`${front.host}/apps/one:1`, {
    auth: AuthConfig.fromPartial({ username: 'me', password: 'secret' }),
  })
  const login = `Basic ${Buffer.from('me:secret').toString('base64')}`
  expect([...new Set(seen)].toSorted()).toEqual([`moved ${login} 1`, 'storage undefined undefined'])
})
