// Images that are made on the fly: one to run, one to pull, one for containerd's pods.
import { randomFillSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { sha256, tarOf } from '../../packages/runtime-runc/test/registry.ts'
import type { TarEntry, TestImage } from '../../packages/runtime-runc/test/registry.ts'
import { pauseProgram } from '../../packages/runtime-runc/src/sandbox/pause.ts'
import { MiB } from '../figures.ts'

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
const oci = 'application/vnd.oci.image'

async function imageOf(layers: readonly TarEntry[][], config: object): Promise<TestImage> {
  const made = await Promise.all(
    layers.map(async (entries) => {
      const tar = await tarOf(entries)
      return { diffId: sha256(tar), blob: await promisify(gzip)(tar) }
    }),
  )
  const diffIds = made.map(({ diffId }) => diffId)
  const file = json({ architecture: 'amd64', os: 'linux', config, rootfs: { type: 'layers', diff_ids: diffIds } })
  const describe = (mediaType: string, blob: Buffer): object => ({ mediaType, digest: sha256(blob), size: blob.length })
  const manifest = json({
    schemaVersion: 2,
    mediaType: `${oci}.manifest.v1+json`,
    config: describe(`${oci}.config.v1+json`, file),
    layers: made.map(({ blob }) => describe(`${oci}.layer.v1.tar+gzip`, blob)),
  })
  const blobs = new Map([file, ...made.map(({ blob }) => blob)].map((blob) => [sha256(blob), blob]))
  return { blobs, manifest, id: sha256(file), layers: made.map(({ blob }) => sha256(blob)) }
}

export async function appImage(): Promise<TestImage> {
  const folders = ['bin/', 'etc/', 'tmp/'].map((name) => ({ name, type: 'directory' as const, mode: 0o755 }))
  const busybox = { name: 'bin/busybox', mode: 0o755, content: readFileSync('/bin/busybox') }
  const links = ['sh', 'sleep', 'true'].map((name) => ({
    name: `bin/${name}`,
    type: 'symlink' as const,
    linkname: 'busybox',
  }))
  return imageOf([[...folders, busybox, ...links]], {})
}

export const pauseImage = async (): Promise<TestImage> =>
  imageOf([[{ name: 'pause', mode: 0o755, content: pauseProgram('x64') }]], { Entrypoint: ['/pause'] })

/** Files of many sizes, a third of whose bytes do not compress: about as real software does. */
export async function bigImage(megabytes: number, layers: number): Promise<TestImage> {
  const perLayer = (megabytes / layers) * MiB
  const text = Buffer.from('All work and no play makes Jack a dull boy. '.repeat(200))
  return imageOf(
    Array.from({ length: layers }, (_, layer) => {
      const entries: TarEntry[] = []
      for (let size = 0, at = 0; size < perLayer; at += 1) {
        const content = Buffer.alloc(Math.min(perLayer - size, [4, 16, 64, 256, 1024][at % 5]! * 1024))
        for (let offset = 0; offset < content.length; offset += 4096) {
          const block = content.subarray(offset, offset + 4096)
          block.set(text.subarray(at % 50, (at % 50) + block.length))
          randomFillSync(block.subarray(0, Math.floor(block.length / 3)))
        }
        size += content.length
        entries.push({ name: `layer${layer}/${at % 40}/file${at}`, content })
      }
      return entries
    }),
    {},
  )
}
