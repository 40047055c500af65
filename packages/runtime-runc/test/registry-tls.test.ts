// A real registry over TLS with passwords and client certificates, mirrors by hosts.toml, and a faulty host before it.
import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { RequestListener, Server } from 'node:http'
import { connect } from 'node:net'
import { createServer as createSocketServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AuthConfig } from '@nodelet/cri-api'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { openImages } from '../src/index.ts'
import type { Images, ImagesOptions } from '../src/index.ts'
import { makeImage, sha256, startRegistry } from './registry.ts'
import type { TestImage, TestRegistry } from './registry.ts'

let folder: string
let plain: TestRegistry
let guarded: ChildProcess
let guardedHost: string
let image: TestImage
let images: Images
let servers: Server[] = []
/** Of the user `me` with the password `secret`. */
const htpasswd = 'me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n'

const openssl = (...words: string[]): void => void execFileSync('openssl', words, { cwd: folder, stdio: 'ignore' })

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-tls-'))
  plain = await startRegistry()
  image = await makeImage([[{ name: 'a', content: 'a'.repeat(100_000) }], [{ name: 'b', content: 'b' }]])
  await plain.push('apps/one:1', image)
  openssl(...'req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt'.split(' '))
  writeFileSync(join(folder, 'ext'), 'subjectAltName=IP:127.0.0.1')
  for (const name of ['server', 'me']) {
    openssl(...`req -newkey rsa:2048 -nodes -subj /CN=${name} -keyout ${name}.key -out ${name}.csr`.split(' '))
    const sign = `x509 -req -in ${name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext`
    openssl(...`${sign} -out ${name}.cert`.split(' '))
  }
  writeFileSync(join(folder, 'htpasswd'), htpasswd)
  const probe = createSocketServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  guardedHost = `127.0.0.1:${port}`
  // The same storage as of the plain one, behind certificates and a password.
  cpSync(join(plain.blobFile(image.id), '../../../../../../../..'), join(folder, 'storage'), { recursive: true })
  const tls = { certificate: join(folder, 'server.cert'), key: join(folder, 'server.key') }
  const config = {
    version: 0.1,
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: join(folder, 'storage') } },
    http: { addr: guardedHost, tls: { ...tls, clientcas: [join(folder, 'ca.crt')] } },
    auth: { htpasswd: { realm: 'here', path: join(folder, 'htpasswd') } },
  }
  writeFileSync(join(folder, 'config.yml'), JSON.stringify(config))
  guarded = spawn('docker-registry', ['serve', join(folder, 'config.yml')], { stdio: 'ignore' })
  await vi.waitFor(
    async () => {
      const socket = connect(port, '127.0.0.1')
      await once(socket, 'connect')
      socket.destroy()
    },
    { timeout: 20_000 },
  )
}, 60_000)
afterAll(async () => {
  if (guarded.exitCode === null && guarded.kill('SIGKILL')) await once(guarded, 'exit')
  await plain[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})
beforeEach(async () => reopen())
afterEach(async () => {
  await images[Symbol.asyncDispose]()
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
  servers = []
  for (const name of ['images', 'certs.d']) rmSync(join(folder, name), { recursive: true, force: true })
})

async function reopen(options: Partial<ImagesOptions> = {}): Promise<void> {
  await images?.[Symbol.asyncDispose]()
  images = await openImages({ root: join(folder, 'images'), registryConfigPath: join(folder, 'certs.d'), ...options })
}

function configure(host: string, text: string): void {
  mkdirSync(join(folder, 'certs.d', host), { recursive: true })
  writeFileSync(join(folder, 'certs.d', host, 'hosts.toml'), text)
}

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

const left = (): string[] =>
  ['blobs/sha256', 'l', 'incoming'].flatMap((name) => readdirSync(join(folder, 'images', name)))
const login = (password = 'secret'): AuthConfig => AuthConfig.fromPartial({ username: 'me', password })
const name = 'registry.invalid/apps/one:1'
const guardedMirror = (more = ''): string => `
server = "http://127.0.0.1:9"
[host."https://${guardedHost}"]
  ca = "${folder}/ca.crt"
  ${more}`
const withClient = (): string => guardedMirror(`client = [["${folder}/me.cert", "${folder}/me.key"]]`)

test('certificates and a password open it; each that lacks is named', async () => {
  configure('registry.invalid', withClient())
  expect((await images.pull(name, { auth: login() })).repoTags).toEqual([name])
  await images.remove(name)
  await expect(images.pull(name, { auth: login('wrong') })).rejects.toThrow(
    `failed to pull and unpack image "${name}": failed to resolve reference "${name}": pull access denied, repository ` +
      'does not exist or may require authorization: ',
  )
  await expect(images.pull(name)).rejects.toThrow('wants a user and a password: give an image pull secret')
  configure('registry.invalid', guardedMirror())
  await expect(images.pull(name, { auth: login() })).rejects.toThrow(/^RegistryUnavailable: /)
  configure('registry.invalid', `server = "https://${guardedHost}"`)
  await expect(images.pull(name, { auth: login() })).rejects.toThrow(
    /^RegistryUnavailable: .*failed to do request: Get ".*": .*(certificate|issuer)/,
  )
  configure('registry.invalid', 'servr = 1')
  await expect(images.pull(name)).rejects.toThrow(`${folder}/certs.d/registry.invalid/hosts.toml: servr: no such key`)
  expect(left()).toEqual([])
})

test('the files that Docker takes in a folder of certs.d are enough: authorities, and who we are', async () => {
  const own = `${guardedHost}/apps/one:1`
  const put = (from: string, to: string): void => cpSync(join(folder, from), join(folder, 'certs.d', guardedHost, to))
  put('ca.crt', 'ca.crt')
  await expect(images.pull(own, { auth: login() })).rejects.toThrow(/^RegistryUnavailable: /) // it wants a certificate
  put('me.cert', 'me.cert')
  await expect(images.pull(own, { auth: login() })).rejects.toThrow(`me.cert: a certificate without me.key beside it`)
  put('me.key', 'me.key')
  expect((await images.pull(own, { auth: login() })).id).toBe(image.id)
  await images.remove(own)
  // Who signed the registry's certificate counts, though the host is this machine.
  rmSync(join(folder, 'certs.d', guardedHost, 'ca.crt'))
  await expect(images.pull(own, { auth: login() })).rejects.toThrow(/^RegistryUnavailable: .*(certificate|issuer)/)
  put('me.cert', 'other.crt') // signs nothing
  await expect(images.pull(own, { auth: login() })).rejects.toThrow(/^RegistryUnavailable: .*(certificate|issuer)/)
  put('ca.crt', 'zz.crt')
  expect((await images.pull(own, { auth: login() })).id).toBe(image.id)
})

test('mirrors: in order, told whom they stand for, with their headers; what they lack comes from the next', async () => {
  const asked: string[] = []
  const mirror = await serve(({ url, headers }, response) => {
    asked.push(`${url?.replace(/sha256:\w+/, 'DIGEST')} ${String(headers['x-mine'])}`)
    response.writeHead(404).end()
  })
  const address = `[host."http://${mirror}/sub"]\n[host."http://${mirror}/sub".header]\nx-mine = "1"`
  configure('registry.invalid', `server = "http://${plain.host}"\n[host."http://127.0.0.1:9"]\n${address}`)
  await images.pull(name)
  expect([...new Set(asked)]).toEqual([
    '/sub/v2/apps/one/manifests/1?ns=registry.invalid 1',
    '/sub/v2/apps/one/blobs/DIGEST?ns=registry.invalid 1',
  ])
  // One that may only serve digests is not asked what a tag stands for.
  await images.remove(name)
  asked.length = 0
  configure('registry.invalid', `server = "http://${plain.host}"\n[host."http://${mirror}"]\ncapabilities = ["pull"]`)
  await images.pull(name)
  expect(asked.filter((line) => line.includes('manifests'))).toEqual([])
})

test('a blob that is wrong or short comes again from another host, and is an error when there is none', async () => {
  const [digest = ''] = image.layers
  const right = image.blobs.get(digest) ?? Buffer.alloc(0)
  let wrong: Buffer = Buffer.alloc(right.length)
  const liar = await serve((request, response) => {
    if (request.url?.startsWith(`/v2/apps/one/blobs/${digest}`)) return void response.end(wrong)
    response.writeHead(307, { location: `http://${plain.host}${request.url}` }).end()
  })
  configure('registry.invalid', `server = "http://${plain.host}"\n[host."http://${liar}"]`)
  await images.pull(name)
  await images.remove(name)
  wrong = right.subarray(0, 100)
  await images.pull(name)
  await images.remove(name)
  configure('registry.invalid', `server = "http://${liar}"`)
  await expect(images.pull(name)).rejects.toThrow(`blob ${digest}: 100 bytes came, its manifest says ${right.length}`)
  wrong = Buffer.alloc(right.length)
  await expect(images.pull(name)).rejects.toThrow(`blob ${digest} is corrupt: its content has digest ${sha256(wrong)}`)
  // Parts of others, whose downloads were ended, may be there for the next pull.
  expect(left()).not.toContain(digest.slice('sha256:'.length))
})

test.each<[string, RequestListener, RegExp]>([
  ['garbage', (_, response) => void response.end('<html>'), /manifest of .* is not JSON/],
  ['a huge manifest', (_, response) => void response.end(Buffer.alloc(9_000_000)), /is larger than 8388608 bytes/],
  ['404', (_, response) => void response.writeHead(404).end(), /registry\.invalid\/apps\/one:1: not found/],
  [
    'refusals in words',
    (_, response) => void response.writeHead(400).end('{"errors":[{"code":"TAG_INVALID","message":"no tag"}]}'),
    /unexpected status from GET request to http:.*: 400 Bad Request: TAG_INVALID: no tag/,
  ],
])('%s from a registry', async (_, listener, message) => {
  configure('registry.invalid', `server = "http://${await serve(listener)}"`)
  await expect(images.pull(name)).rejects.toThrow(message)
  expect(left()).toEqual([])
})

test('a registry that stalls ends the pull in time; what came is kept and the next goes on there', async () => {
  await reopen({ imagePullProgressTimeout: 1500 })
  const [digest = ''] = image.layers
  const right = image.blobs.get(digest) ?? Buffer.alloc(0)
  let isStalled = true
  const ranges: (string | undefined)[] = []
  const host = await serve((request, response) => {
    if (request.url?.startsWith(`/v2/apps/one/blobs/${digest}`)) {
      ranges.push(request.headers.range)
      if (isStalled && request.headers.range) return
      if (isStalled)
        return void response.writeHead(200, { 'content-length': right.length }).write(right.subarray(0, 50))
    }
    response.writeHead(307, { location: `http://${plain.host}${request.url}` }).end()
  })
  configure('registry.invalid', `server = "http://${host}"`)
  await expect(images.pull(name)).rejects.toThrow('no byte came in 1.5 s, so the pull is given up')
  isStalled = false
  ranges.length = 0
  expect((await images.pull(name)).id).toBe(image.id)
  expect(ranges).toEqual(['bytes=50-'])
  expect(readFileSync(join(folder, 'images/blobs/sha256', digest.slice(7)))).toEqual(right)
})

test('two pulls of images with the same layer fetch it once', async () => {
  const [digest = ''] = image.layers
  let requests = 0
  const host = await serve((request, response) => {
    if (request.url?.includes(digest)) requests += 1
    const pass = (): void => void response.writeHead(307, { location: `http://${plain.host}${request.url}` }).end()
    if (request.url?.includes(digest)) setTimeout(pass, 200)
    else pass()
  })
  configure('registry.invalid', `server = "http://${host}"`)
  const other = `registry.invalid/apps/one@${sha256(image.manifest)}`
  const [one, two] = await Promise.all([images.pull(name), images.pull(other)])
  expect([one.id, two.id]).toEqual([image.id, image.id])
  expect(requests).toBe(1)
})
