// The folder that runc reads.
import { mkdirSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { OciSpec } from './spec/oci.ts'

/** Makes a bundle's folder. */
export function makeBundle(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 })
}

/** Writes a bundle's config.json. It is not synced: after a crash or a reboot the container is made anew. */
export function writeBundle(path: string, spec: OciSpec): void {
  writeFileSync(join(path, 'config.json'), JSON.stringify(spec), { mode: 0o600 })
}

/** Removes a bundle; a missing one is fine. */
export async function removeBundle(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true })
}
