// The folder that runc reads.
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { writeJson } from './files.ts'
import type { OciSpec } from './spec/oci.ts'

/** Makes a bundle's folder and its config.json. */
export async function writeBundle(path: string, spec: OciSpec): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 })
  await writeJson(join(path, 'config.json'), spec)
}

/** Removes a bundle; a missing one is fine. */
export async function removeBundle(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true })
}
