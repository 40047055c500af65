// New limits for a container that is there.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CriError, LinuxContainerConfig, LinuxContainerResources } from '@nodelet/cri-api'
import { buildResources } from '../spec/resources.ts'
import { crashPoint } from '../crash-points.ts'
import { entryOf, locked, replace, runcOf, update } from './context.ts'
import type { Context, Entry } from './context.ts'

/**
 * Merges the limits that are not zero into the container's and has runc apply them; stored only when runc could. One
 * that a crash cuts off is done at the next start.
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
    const pendingResources = mergeResources(config.linux?.resources, limits)
    await update(context, entry, { pendingResources })
    crashPoint('update/recorded')
    await applyPending(context, entry)
  })
}

/** Applies what was recorded to be applied; on failure the limits are as before. */
export async function applyPending(context: Context, entry: Entry): Promise<void> {
  const { pendingResources, ...settled } = entry.record
  if (!pendingResources) return
  const { id, config } = settled
  try {
    const { devices: _, ...oci } = buildResources(pendingResources, [], context.host)
    const file = join(context.folders.bundles, id, 'update.json')
    await writeFile(file, JSON.stringify(oci), { mode: 0o600 })
    await runcOf(context, entry.record).update(id, file)
  } catch (error) {
    await replace(context, entry, settled)
    throw error
  }
  crashPoint('update/applied')
  const linux = { ...LinuxContainerConfig.fromPartial(config.linux ?? {}), resources: pendingResources }
  await replace(context, entry, { ...settled, config: { ...config, linux } })
  crashPoint('update/stored')
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
