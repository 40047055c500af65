// What registries and networks do to a pull: logins, redirects, broken connections, proxies.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AuthConfig } from '@nodelet/cri-api'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { openImages } from '../src/index.ts'
import type { Images } from '../src/index.ts'
import { indexOf, makeImage, sha256, startRegistry } from './registry.ts'
import type { TestImage, TestRegistry } from './registry.ts'
import { makeCertificate, makeToken } from './registry-tokens.ts'

let root: string
let images: Images
let registry: TestRegistry
let image: TestImage
let servers: Server[] = []

beforeAll(async () => {
  registry = await startRegistry()
  // Larger than what a socket holds, so that a connection breaks in the middle.
  const noise = Array.from({ length: 60_000 }, (_, at) => sha256(Buffer.from(String(at)))).join('')
  image = await makeImage([[{ name: 'noise', content: noise }]])
  await registry.push('apps/big:1', image)
})
afterAll(async () => registry[Symbol.asyncDispose]())
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'nodelet-edges-'))
  images = await openImages({ root })
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await images[Symbol.asyncDispose]()
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
  servers = []
  rmSync(root, { recursive: true })
})

async function serve(listener: RequestListener): Promise<{ host: string; server: Server }> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, server }
}

/** Passes a request on to the registry. */
async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const headers = {
    ...(request.headers.range && { range: request.headers.range }),
    accept: String(request.headers.accept),
  }
  const answer = await fetch(`http://${registry.host}${request.url}`, { headers })
  const content = Buffer.from(await answer.arrayBuffer())
  response.writeHead(answer.status, {
    'content-type': answer.headers.get('content-type') ?? '',
    'content-length': content.length,
  })
  response.end(content)
}

const isBlob = ({ url }: IncomingMessage, digest: string | undefined): boolean => url === `/v2/apps/big/blobs/${digest}`

test('a blob goes on where a broken connection ended', async () => {
  const ranges: (string | undefined)[] = []
  const { host } = await serve((request, response) => {
    if (!isBlob(request, image.layers[0])) return void pass(request, response)
    ranges.push(request.headers.range)
    if (ranges.length > 2) return void pass(request, response)
    const content = image.blobs.get(image.layers[0] ?? '') ?? Buffer.alloc(0)
    const from = Number(/\d+/.exec(request.headers.range ?? '0')?.[0])
    const end = ranges.length * 1_000_000
    response.writeHead(from > 0 ? 206 : 200, { 'content-length': content.length - from })
    response.write(content.subarray(from, end), () => setTimeout(() => response.destroy(), 20))
  })
  const seen: number[] = []
  const pulled = await images.pull(`${host}/apps/big:1`, {
    onProgress: ({ digest, done }) => digest === image.layers[0] && seen.push(done),
  })
  expect(pulled.id).toBe(image.id)
  expect(ranges[0]).toBeUndefined()
  for (const range of ranges.slice(1)) expect(range).toMatch(/^bytes=\d{5,}-$/)
  expect(seen).toEqual(seen.toSorted((a, b) => a - b))
  expect(seen.at(-1)).toBe(image.blobs.get(image.layers[0] ?? '')?.length)
})

test('a registry that sends all again from the start is understood', async () => {
  let requests = 0
  const { host } = await serve((request, response) => {
    if (!isBlob(request, image.layers[0])) return void pass(request, response)
    const content = image.blobs.get(image.layers[0] ?? '') ?? Buffer.alloc(0)
    response.writeHead(200, { 'content-length': content.length })
    if (++requests > 1) return void response.end(content)
    response.write(content.subarray(0, 1_000_000), () => setTimeout(() => response.destroy(), 20))
  })
  expect((await images.pull(`${host}/apps/big:1`)).id).toBe(image.id)
  expect(requests).toBe(2)
})

test('a busy registry is asked again, a refusal is not', async () => {
  let requests = 0
  const { host } = await serve((request, response) => {
    requests += 1
    if (request.url?.startsWith('/v2/apps/denied/')) return void response.writeHead(403).end()
    if (requests > 2) return void pass(request, response)
    response.writeHead(requests === 1 ? 429 : 503, { 'retry-after': '0' }).end()
  })
  expect((await images.pull(`${host}/apps/big:1`)).id).toBe(image.id)
  requests = 0
  await expect(images.pull(`${host}/apps/denied:1`)).rejects.toThrow(
    `failed to pull and unpack image "${host}/apps/denied:1": failed to resolve reference "${host}/apps/denied:1": ` +
      'pull access denied, repository does not exist or may require authorization',
  )
  expect(requests).toBe(1)
})

test('an aborted pull ends at once and leaves nothing', async () => {
  const started = Promise.withResolvers<undefined>()
  const { host } = await serve((request, response) => {
    if (!isBlob(request, image.layers[0])) return void pass(request, response)
    response.writeHead(200, { 'content-length': image.blobs.get(image.layers[0] ?? '')?.length })
    response.write('x', () => started.resolve(undefined)) // and then nothing more
  })
  const leaving = new AbortController()
  const pull = images.pull(`${host}/apps/big:1`, { signal: leaving.signal })
  await started.promise
  leaving.abort(new Error('enough'))
  await expect(pull).rejects.toThrow('enough')
  // Who comes now does not share what is ending.
  expect((await images.pull(`${registry.host}/apps/big:1`)).id).toBe(image.id)
  await images.remove(image.id)
  await vi.waitFor(
    () => expect(['blobs/sha256', 'incoming', 'l'].map((name) => readdirSync(join(root, name)))).toEqual([[], [], []]),
    { timeout: 20_000 },
  )
})

test('redirects are followed without the credentials', async () => {
  const seen: (string | undefined)[] = []
  const storage = await serve((request, response) => {
    seen.push(request.headers.authorization)
    void pass(request, response)
  })
  const { host } = await serve((request, response) => {
    if (request.headers.authorization !== `Basic ${Buffer.from('me:secret:1').toString('base64')}`) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="here"' }).end()
    } else if (request.url?.includes('/blobs/')) {
      response.writeHead(307, { location: `http://${storage.host}${request.url}` }).end()
    } else void pass(request, response)
  })
  await expect(images.pull(`${host}/apps/big:1`)).rejects.toMatchObject({
    code: 'UNKNOWN',
    message: expect.stringContaining('wants a user and a password: give an image pull secret'),
  })
  const auth = AuthConfig.fromPartial({ auth: Buffer.from('me:secret:1').toString('base64') })
  expect((await images.pull(`${host}/apps/big:1`, { auth })).id).toBe(image.id)
  expect(seen).toEqual([undefined, undefined])
  // Another registry's credentials stay unused.
  const other = AuthConfig.fromPartial({ ...auth, serverAddress: 'other.example' })
  await expect(images.pull(`${host}/apps/big:1`, { auth: other })).rejects.toThrow('give an image pull secret')
})

test('a real registry with tokens: by password, by identity token, and refused without', async () => {
  const { key, certificate } = makeCertificate(root)
  const requests: string[] = []
  const front = await serve((request, response) => {
    const url = new URL(request.url ?? '', 'http://front')
    request.setEncoding('utf8')
    let body = ''
    request.on('data', (text: string) => (body += text))
    request.on('end', () => {
      const login = Buffer.from(request.headers.authorization?.slice(6) ?? '', 'base64').toString()
      const fields = new URLSearchParams(body)
      requests.push(`${request.method} ${login || fields.get('grant_type')}`)
      const scope = url.searchParams.get('scope') ?? fields.get('scope') ?? ''
      const isKnown = login === 'me:secret' || fields.get('refresh_token') === 'identity'
      const [type = '', name = ''] = scope.split(':')
      const access = isKnown ? [{ type, name, actions: ['pull', 'push'] }] : []
      response.end(JSON.stringify({ [isKnown ? 'token' : 'access_token']: makeToken(key, certificate, access) }))
    })
  })
  await using guarded = await startRegistry({ realm: `http://${front.host}/token`, certificate })
  const pushToken = makeToken(key, certificate, [{ type: 'repository', name: 'apps/safe', actions: ['pull', 'push'] }])
  await guarded.push('apps/safe:1', image, { authorization: `Bearer ${pushToken}` })
  const name = `${guarded.host}/apps/safe:1`

  await expect(images.pull(name)).rejects.toThrow('pull access denied, repository does not exist or may require auth')
  const byPassword = AuthConfig.fromPartial({ username: 'me', password: 'secret' })
  expect((await images.pull(name, { auth: byPassword })).id).toBe(image.id)
  await images.remove(name)
  expect((await images.pull(name, { auth: AuthConfig.fromPartial({ identityToken: 'identity' }) })).id).toBe(image.id)
  await images.remove(name)
  expect((await images.pull(name, { auth: AuthConfig.fromPartial({ registryToken: pushToken }) })).id).toBe(image.id)
  expect(requests).toEqual(['GET null', 'GET me:secret', 'POST refresh_token'])
})

test('a proxy of the environment is used, but not for this machine', async () => {
  const asked: string[] = []
  const proxy = await serve((request, response) => {
    const { host, pathname } = new URL(request.url ?? '')
    asked.push(host)
    request.url = pathname
    void pass(request, response)
  })
  vi.stubEnv('http_proxy', `http://${proxy.host}`)
  vi.stubEnv('no_proxy', '')
  await images[Symbol.asyncDispose]()
  images = await openImages({ root, plainHttp: () => true })
  await images.pull(`${registry.host}/apps/big:1`)
  expect(asked).toEqual([])
  const pulled = await images.pull('registry.invalid:5000/apps/big:1')
  expect(pulled.repoTags).toContain('registry.invalid:5000/apps/big:1')
  expect(new Set(asked)).toEqual(new Set(['registry.invalid:5000']))
})

test('an index within an index; a manifest that is not what the index says', async () => {
  const architecture = { x64: 'amd64' }[process.arch as string] ?? process.arch
  const inner = indexOf([{ manifest: image.manifest, architecture }])
  const outer = indexOf([{ manifest: inner, architecture }])
  const type = 'application/vnd.oci.image.index.v1+json'
  const { host } = await serve((request, response) => {
    const isOuter = request.url === '/v2/apps/big/manifests/outer'
    if (!isOuter && request.url !== `/v2/apps/big/manifests/${sha256(inner)}`) return void pass(request, response)
    response.writeHead(200, { 'content-type': type }).end(isOuter ? outer : inner)
  })
  expect((await images.pull(`${host}/apps/big:outer`)).id).toBe(image.id)
  const liar = await serve((_, response) => void response.writeHead(200, { 'content-type': type }).end(inner))
  await expect(images.pull(`${liar.host}/apps/big@${sha256(outer)}`)).rejects.toThrow(
    `manifest ${sha256(outer)} of ${liar.host}/apps/big is corrupt: ${inner.length} bytes came with digest ${sha256(inner)}`,
  )
})
