// A real registry on loopback, and images to put into it.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import type { Header } from 'tar-stream'

export const sha256 = (content: Uint8Array): string => `sha256:${createHash('sha256').update(content).digest('hex')}`
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

export type TarEntry = Partial<Header> & { name: string; content?: string | Buffer }

export async function tarOf(entries: readonly TarEntry[]): Promise<Buffer> {
  const tar = pack()
  for (const { content = '', ...header } of entries) tar.entry({ type: 'file', mode: 0o644, ...header }, content)
  tar.finalize()
  const chunks: Uint8Array[] = []
  for await (const chunk of tar) chunks.push(chunk as Uint8Array)
  return Buffer.concat(chunks)
}

export interface TestImage {
  blobs: Map<string, Buffer>
  manifest: Buffer
  id: string
  layers: string[]
}

/** @param digestOf names blobs and layers; the manifest itself is always named by sha256 */
export async function makeImage(
  layers: readonly TarEntry[][],
  config: object = {},
  digestOf: (content: Uint8Array) => string = sha256,
): Promise<TestImage> {
  const tars = await Promise.all(layers.map(tarOf))
  const compressed = tars.map((tar) => gzipSync(tar))
  const file = json({
    architecture: 'amd64',
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: tars.map(digestOf) },
  })
  const describe = (mediaType: string, content: Buffer): object => ({
    mediaType,
    digest: digestOf(content),
    size: content.length,
  })
  const oci = 'application/vnd.oci.image'
  const manifest = json({
    schemaVersion: 2,
    mediaType: `${oci}.manifest.v1+json`,
    config: describe(`${oci}.config.v1+json`, file),
    layers: compressed.map((layer) => describe(`${oci}.layer.v1.tar+gzip`, layer)),
  })
  const blobs = new Map([file, ...compressed].map((blob) => [digestOf(blob), blob]))
  return { blobs, manifest, id: digestOf(file), layers: compressed.map(digestOf) }
}

export const indexOf = (entries: readonly { manifest: Buffer; architecture: string }[]): Buffer =>
  json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: entries.map(({ manifest, architecture }) => ({
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: sha256(manifest),
      size: manifest.length,
      platform: { os: 'linux', architecture },
    })),
  })

export interface TestRegistry extends AsyncDisposable {
  host: string
  /** Where the registry keeps a blob. */
  blobFile(digest: string): string
  push(name: string, image: TestImage, headers?: Record<string, string>): Promise<void>
  putManifest(
    name: string,
    tag: string,
    mediaType: string,
    content: Buffer,
    headers?: Record<string, string>,
  ): Promise<void>
}

/** @param more configuration of the registry */
export async function startRegistry(
  auth?: { realm: string; certificate: string },
  more: Record<string, unknown> = {},
): Promise<TestRegistry> {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-registry-'))
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  const host = `127.0.0.1:${port}`
  const config: Record<string, unknown> = {
    version: 0.1,
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: folder } },
    http: { addr: host },
    ...more,
  }
  if (auth) {
    const certificate = join(folder, 'token.crt')
    writeFileSync(certificate, auth.certificate)
    config.auth = { token: { realm: auth.realm, service: 'registry', issuer: 'tests', rootcertbundle: certificate } }
  }
  writeFileSync(join(folder, 'config.yml'), JSON.stringify(config))
  const server = spawn('docker-registry', ['serve', join(folder, 'config.yml')], { stdio: 'ignore' })
  for (let tries = 0; ; tries += 1) {
    try {
      await fetch(`http://${host}/v2/`)
      break
    } catch (error) {
      if (tries > 200 || server.exitCode !== null) throw error
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
  }
  const putManifest: TestRegistry['putManifest'] = async (name, tag, mediaType, content, headers = {}) => {
    const answer = await fetch(`http://${host}/v2/${name}/manifests/${tag}`, {
      method: 'PUT',
      headers: { ...headers, 'content-type': mediaType },
      body: new Uint8Array(content),
    })
    if (answer.status !== 201) throw new Error(`push ${name}:${tag}: ${answer.status} ${await answer.text()}`)
  }
  return {
    host,
    putManifest,
    blobFile: (digest) => {
      const hex = digest.slice('sha256:'.length)
      return join(folder, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data')
    },
    push: async (name, { blobs, manifest }, headers = {}) => {
      const [path = '', tag = ''] = name.split(':')
      for (const [digest, blob] of blobs) {
        const started = await fetch(`http://${host}/v2/${path}/blobs/uploads/`, { method: 'POST', headers })
        const url = new URL(started.headers.get('location') ?? '', `http://${host}`)
        url.searchParams.set('digest', digest)
        const done = await fetch(url, { method: 'PUT', headers, body: new Uint8Array(blob) })
        if (done.status !== 201) throw new Error(`push blob: ${done.status} ${await done.text()}`)
      }
      await putManifest(path, tag, 'application/vnd.oci.image.manifest.v1+json', manifest, headers)
    },
    [Symbol.asyncDispose]: async () => {
      if (server.exitCode === null && server.signalCode === null) {
        server.kill('SIGKILL')
        await once(server, 'exit')
      }
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
