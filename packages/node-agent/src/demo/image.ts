// A real image made on the spot: the machine's own static busybox as an OCI layout.
import { createHash } from 'node:crypto'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { pack } from 'tar-stream'
import { CommandError } from '../errors.ts'

const busyboxPaths = ['/bin/busybox', '/usr/bin/busybox']
const executable = 0o755

/** Answers which pod it is: the page that the demo calls. */
const whoScript = `#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n%s\\n' "$HOSTNAME"
`

/**
 * Writes an OCI image layout with one layer.
 * @param folder made anew
 * @returns the folder
 * @throws CommandError when the machine has no busybox
 */
export async function makeDemoImage(folder: string, reference: string): Promise<string> {
  const busybox = busyboxPaths.find(existsSync)
  if (!busybox)
    throw new CommandError('busybox is not here: the demo image is made from it', 'apt-get install busybox-static')
  const { stdout } = await promisify(execFile)(busybox, ['--list'])
  const tar = await layer(await readFile(busybox), stdout.trim().split('\n'))
  const compressed = await promisify(gzip)(tar)

  await rm(folder, { recursive: true, force: true })
  const blobs = join(folder, 'blobs/sha256')
  await mkdir(blobs, { recursive: true })
  const put = async (mediaType: string, content: Buffer): Promise<Descriptor> => {
    const digest = createHash('sha256').update(content).digest('hex')
    await writeFile(join(blobs, digest), content)
    return { mediaType, digest: `sha256:${digest}`, size: content.length }
  }
  const oci = 'application/vnd.oci.image'
  const layerBlob = await put(`${oci}.layer.v1.tar+gzip`, compressed)
  const config = await put(`${oci}.config.v1+json`, json(imageConfig(tar)))
  const manifest = await put(
    `${oci}.manifest.v1+json`,
    json({ schemaVersion: 2, mediaType: `${oci}.manifest.v1+json`, config, layers: [layerBlob] }),
  )
  const annotations = { 'org.opencontainers.image.ref.name': reference, 'io.containerd.image.name': reference }
  const index = { schemaVersion: 2, mediaType: `${oci}.index.v1+json`, manifests: [{ ...manifest, annotations }] }
  await writeFile(join(folder, 'index.json'), json(index))
  await writeFile(join(folder, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }))
  return folder
}

interface Descriptor {
  mediaType: string
  digest: string
  size: number
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

const architectures: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', arm64: 'arm64' }

const imageConfig = (tar: Buffer): object => ({
  architecture: architectures[process.arch] ?? process.arch,
  os: 'linux',
  config: {
    Env: ['PATH=/bin'],
    WorkingDir: '/www',
    Cmd: ['/bin/httpd', '-f', '-v', '-p', '8080', '-h', '/www'],
    ExposedPorts: { '8080/tcp': {} },
  },
  rootfs: { type: 'layers', diff_ids: [`sha256:${createHash('sha256').update(tar).digest('hex')}`] },
  history: [{ created_by: 'nodelet demo' }],
})

async function layer(busybox: Buffer, applets: readonly string[]): Promise<Buffer> {
  const tar = pack()
  const mtime = new Date(0)
  for (const name of ['bin', 'etc', 'tmp', 'www', 'www/cgi-bin', 'www/pages']) {
    tar.entry({ name: `${name}/`, type: 'directory', mode: name === 'tmp' ? 0o1777 : executable, mtime })
  }
  tar.entry({ name: 'bin/busybox', mode: executable, mtime }, busybox)
  for (const applet of applets) {
    if (applet !== 'busybox') tar.entry({ name: `bin/${applet}`, type: 'symlink', linkname: 'busybox', mtime })
  }
  tar.entry({ name: 'etc/passwd', mtime }, 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n')
  tar.entry({ name: 'etc/group', mtime }, 'root:x:0:\nnogroup:x:65534:\n')
  tar.entry({ name: 'www/cgi-bin/who', mode: executable, mtime }, whoScript)
  tar.finalize()
  const chunks: Uint8Array[] = []
  for await (const chunk of tar) chunks.push(chunk as Uint8Array)
  return Buffer.concat(chunks)
}
