// New limits for a container that is there.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CriError, LinuxContainerConfig, LinuxContainerResources } from '@nodelet/cri-api'
import { buildResources } from '../spec/resources.ts'
import { entryOf, locked, update } from './context.ts'
import type { Context } from './context.ts'

/**
 * Merges the limits that are not zero into the container's and has runc apply them; stored only when runc could.
 *
 * @throws CriError NOT_FOUND; FAILED_PRECONDITION for a container that has ended.
 */
export async function updateResources(context: Context, id: string, limits: LinuxContainerResources): Promise<void> {
  const entry = entryOf(context, id)
  await locked(entry, async () => {
    const { phase, removing, config } = entry.record
    if (removing || phase === 'exited' || phase === 'creating') {
      const state = removing ? 'being removed' : phase
      throw new CriError('FAILED_PRECONDITION', `container ${id} is ${state}: its limits cannot be changed`)
    }
    const resources = mergeResources(config.linux?.resources, limits)
    const { devices: _, ...oci } = buildResources(resources, [], context.host)
    const file = join(context.folders.bundles, id, 'update.json')
    await writeFile(file, JSON.stringify(oci), { mode: 0o600 })
    await context.runc.update(id, file)
    const linux = { ...LinuxContainerConfig.fromPartial(config.linux ?? {}), resources }
    await update(context, entry, { config: { ...config, linux } })
  })
}

/** The stored limits with those of the update that are not zero. */
export function mergeResources(
  stored: LinuxContainerResources | undefined,
  change: LinuxContainerResources,
): LinuxContainerResources {
  const set = Object.entries(change).filter(([, value]) => isSet(value))
  return LinuxContainerResources.fromPartial({ ...stored, ...Object.fromEntries(set) })
}

function isSet(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0
  return typeof value === 'object' ? Object.keys(value ?? {}).length > 0 : Boolean(value)
}
