// An image as a folder in the OCI layout.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sha256 } from './registry.ts'
import type { TestImage } from './registry.ts'

export function writeLayout(folder: string, { blobs, manifest }: TestImage, name: string): void {
  const store = join(folder, 'blobs/sha256')
  mkdirSync(store, { recursive: true })
  for (const blob of [...blobs.values(), manifest]) writeFileSync(join(store, sha256(blob).slice(7)), blob)
  const annotations = { 'io.containerd.image.name': name }
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const manifests = [{ mediaType, digest: sha256(manifest), size: manifest.length, annotations }]
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }))
  writeFileSync(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
}
