// Tokens of a real registry: how they are asked for, and what happens when one is no longer good.
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AuthConfig } from '@nodelet/cri-api'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { createAuthorizer } from '../src/image/authorization.ts'
import { createTokenCache } from '../src/registry/token-cache.ts'
import { openImages } from '../src/index.ts'
import type { Images } from '../src/index.ts'
import { makeImage, startRegistry } from './registry.ts'
import type { TestImage, TestRegistry } from './registry.ts'
import { startFront } from './registry-front.ts'
import type { Front } from './registry-front.ts'
import { makeCertificate, makeToken } from './registry-tokens.ts'

interface Asked {
  method: string
  /** Of basic authentication, else of the form. */
  login: string | undefined
  fields: URLSearchParams
}

let folder: string
let tokens: Server
let registry: TestRegistry
let front: Front
let image: TestImage
let images: Images
let sign: (access: object[], life?: number) => string
let asked: Asked[]
/** The status by which a token is refused; undefined: there is one. */
let refusal: (one: Asked) => number | undefined
let name: string
const access = [{ type: 'repository', name: 'apps/safe', actions: ['pull', 'push'] }]

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-logins-'))
  const { key, certificate } = makeCertificate(folder)
  sign = (allowed, life) => makeToken(key, certificate, allowed, life)
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '', 'http://tokens')
    const body = Buffer.concat(await request.toArray()).toString()
    const fields = request.method === 'POST' ? new URLSearchParams(body) : url.searchParams
    const basic = Buffer.from(request.headers.authorization?.slice('Basic '.length) ?? '', 'base64').toString()
    const one = { method: request.method ?? '', login: basic || undefined, fields }
    asked.push(one)
    const status = refusal(one)
    if (status !== undefined) return void response.writeHead(status).end()
    response.end(JSON.stringify({ access_token: sign(access), expires_in: 3600 }))
  }
  tokens = createServer((request, response) => void answer(request, response)).listen(0, '127.0.0.1')
  await once(tokens, 'listening')
  const realm = `http://127.0.0.1:${(tokens.address() as AddressInfo).port}/token`
  registry = await startRegistry({ realm, certificate })
  image = await makeImage([[{ name: 'a', content: 'a' }], [{ name: 'b', content: 'b' }]])
  await registry.push('apps/safe:1', image, { authorization: `Bearer ${sign(access)}` })
})
afterAll(async () => {
  await registry[Symbol.asyncDispose]()
  tokens.closeAllConnections()
  tokens.close()
  rmSync(folder, { recursive: true })
})
beforeEach(async () => {
  asked = []
  refusal = () => undefined
  front = await startFront(registry.host)
  name = `${front.host}/apps/safe:1`
  images = await openImages({ root: join(folder, 'images') })
})
afterEach(async () => {
  await images[Symbol.asyncDispose]()
  rmSync(join(folder, 'images'), { recursive: true })
  await front[Symbol.asyncDispose]()
})

const password = AuthConfig.fromPartial({ username: 'me', password: 'secret' })
const ways = (): string[] => asked.map(({ method, fields }) => `${method} ${fields.get('grant_type') ?? ''}`.trim())

test('by password with GET: the scope, the service and the account are told', async () => {
  await images.pull(name, { auth: password })
  expect(asked.map(({ method, login, fields }) => ({ method, login, ...Object.fromEntries(fields) }))).toEqual([
    { method: 'GET', login: 'me:secret', service: 'registry', scope: 'repository:apps/safe:pull', account: 'me' },
  ])
})

test.each([404, 405])('by password with POST, where GET is answered with %i', async (status) => {
  refusal = ({ method }) => (method === 'GET' ? status : undefined)
  await images.pull(name, { auth: password })
  expect(ways()).toEqual(['GET', 'POST password'])
  expect(Object.fromEntries(asked[1]?.fields ?? [])).toEqual({
    grant_type: 'password',
    username: 'me',
    password: 'secret',
    service: 'registry',
    scope: 'repository:apps/safe:pull',
    client_id: 'nodelet',
  })
  expect(asked[1]?.login).toBeUndefined()
})

test.each([401, 404, 405])('an identity token that is answered with %i: the password is used', async (status) => {
  refusal = ({ method }) => (method === 'POST' ? status : undefined)
  await expect(images.pull(name, { auth: AuthConfig.fromPartial({ identityToken: 'identity' }) })).rejects.toThrow(
    `token server http://127.0.0.1:${(tokens.address() as AddressInfo).port} answered ${status}`,
  )
  await images.pull(name, { auth: AuthConfig.fromPartial({ ...password, identityToken: 'identity' }) })
  expect(ways()).toEqual(['POST refresh_token', 'POST refresh_token', 'GET'])
  expect(asked[2]?.login).toBe('me:secret')
})

test('a wrong password is tried once', async () => {
  refusal = () => 401
  await expect(images.pull(name, { auth: password })).rejects.toThrow(/pull access denied.* answered 401 Unauthorized/)
  expect(ways()).toEqual(['GET'])
})

test('a token that is over in the middle of a pull is asked for anew, once for all that need it', async () => {
  let replaced = 0
  const [first] = [sign(access, -120)]
  front.meddle = ({ url = '' }, _, pass) => {
    if (!url.includes('/blobs/') || asked.length > 1) return pass()
    replaced += 1
    pass({ authorization: `Bearer ${first}` }) // as if it had become old meanwhile
  }
  expect((await images.pull(name, { auth: password })).id).toBe(image.id)
  expect(replaced).toBeGreaterThan(0)
  expect(ways()).toEqual(['GET', 'GET'])
})

test('a token that is never good enough ends the pull, with a word on it', async () => {
  front.meddle = ({ headers }, _, pass) => {
    pass(headers.authorization === undefined ? {} : { authorization: `Bearer ${sign(access, -120)}` })
  }
  await expect(images.pull(name, { auth: password })).rejects.toThrow(
    /pull access denied, .* answered 401 Unauthorized/,
  )
  expect(ways()).toEqual(['GET'])
  front.meddle = ({ headers }, _, pass) => {
    pass(headers.authorization === undefined ? {} : { authorization: `Bearer ${sign([])}` })
  }
  await images[Symbol.asyncDispose]()
  images = await openImages({ root: join(folder, 'images') })
  asked.length = 0
  await expect(images.pull(name, { auth: password })).rejects.toThrow(
    /pull access denied, .* answered 401 Unauthorized/,
  )
  expect(ways()).toEqual(['GET'])
})

test('a right that was given after the former pull is seen: its token is not the last word', async () => {
  await images.pull(name, { auth: password })
  await images.remove(name)
  const [old] = [sign([])]
  front.meddle = (_, __, pass) => pass(asked.length === 1 ? { authorization: `Bearer ${old}` } : {})
  await images.pull(name, { auth: password })
  expect(ways()).toEqual(['GET', 'GET'])
})

test('a right that lacks in the middle of a pull is told; the same user is not asked for again', async () => {
  front.meddle = ({ url = '' }, _, pass) => pass(url.includes('/blobs/') ? { authorization: `Bearer ${sign([])}` } : {})
  await expect(images.pull(name, { auth: password })).rejects.toThrow(
    /pull access denied.*insufficient_scope: the user may/,
  )
  expect(ways()).toEqual(['GET'])
})

test('a token whose time ends while a request is under way is replaced', async () => {
  let now = 0
  let count = 0
  const options = { host: 'r', isMirror: false, api: 'http://r/v2/', path: 'p', auth: undefined }
  const authorizer = createAuthorizer({ ...options, cache: createTokenCache(() => now) }, async () => {
    return {
      status: 200,
      body: JSON.stringify({ token: `t${++count}`, expires_in: count === 1 ? 60 : 3600 }),
      said: '',
    }
  })
  const challenge = 'Bearer realm="http://t/token"'
  const { signal } = new AbortController()
  await authorizer.logIn(challenge, undefined, signal)
  expect(authorizer.header()).toBe('Bearer t1')
  now = Date.now() + 100_000
  await authorizer.logIn(`${challenge},error="invalid_token"`, 'Bearer t1', signal)
  expect(authorizer.header()).toBe('Bearer t2')
  await authorizer.logIn(challenge, 'Bearer t1', signal)
  expect(count).toBe(2)
})
