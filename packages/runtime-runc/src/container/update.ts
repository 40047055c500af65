// New limits for a container that is there.
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CriError, LinuxContainerConfig } from '@nodelet/cri-api'
import type { LinuxContainerResources } from '@nodelet/cri-api'
import { crashPoint } from '../crash-points.ts'
import { readText } from '../files.ts'
import { mergeResources } from '../spec/merge-resources.ts'
import type { OciResources, OciSpec } from '../spec/oci.ts'
import { buildResources } from '../spec/resources.ts'
import { RuncError } from '../runc.ts'
import { entryOf, locked, replace, runcOf, update } from './context.ts'
import type { Context, Entry } from './context.ts'

/**
 * Merges the limits that are not zero into the container's and has the OCI runtime apply them, also to one that is only
 * created: its cgroup is there. Stored only when that went well. One that a crash cuts off is done at the next start.
 *
 * @throws CriError NOT_FOUND; FAILED_PRECONDITION for a container that has ended.
 * @throws Error when the kernel does not take a limit, or the memory in use is above the new one. The limits are then as before.
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
  const bundle = join(context.folders.bundles, id)
  let oci: Omit<OciResources, 'devices'>
  try {
    const { devices: _, ...built } = buildResources(pendingResources, [], context.host)
    oci = built
    await checkMemory(context, entry, Number(pendingResources.memoryLimitInBytes))
    const file = join(bundle, 'update.json')
    await writeFile(file, JSON.stringify(oci), { mode: 0o600 })
    await runcOf(context, entry.record).update(id, file)
  } catch (error) {
    await replace(context, entry, settled)
    if (!(error instanceof RuncError) || (error.code !== 'NOT_RUNNING' && error.code !== 'NOT_FOUND')) throw error
    throw new CriError('FAILED_PRECONDITION', `container ${id} has just ended: its limits cannot be changed`, {
      cause: error,
    })
  }
  crashPoint('update/applied')
  await changeSpec(bundle, oci)
  const linux = { ...LinuxContainerConfig.fromPartial(config.linux ?? {}), resources: pendingResources }
  await replace(context, entry, { ...settled, config: { ...config, linux } })
  crashPoint('update/stored')
}

/** Cgroups v2 take any limit, and kill what does not fit; v1 refuse. */
async function checkMemory({ cgroups }: Context, { record }: Entry, limit: number): Promise<void> {
  if (cgroups.version === 1 || limit <= 0 || !record.init) return
  const path = /^0::(.+)$/m.exec((await readText(`/proc/${record.init.pid}/cgroup`)) ?? '')?.[1]
  if (path === undefined || path === '/' || path.includes('..')) return // ended, or outside of what is seen here
  const used = (await cgroups.stats(path)).memory?.workingSet ?? 0
  if (used > limit) {
    throw new Error(
      `container ${record.id}: a memory limit of ${limit} bytes is below the ${used} in use: nothing was changed`,
    )
  }
}

/** What tools read that ask for the spec. */
async function changeSpec(bundle: string, { memory, cpu, ...others }: Omit<OciResources, 'devices'>): Promise<void> {
  const file = join(bundle, 'config.json')
  const spec = JSON.parse((await readText(file)) ?? '{}') as OciSpec
  const before = spec.linux.resources
  const resources = {
    ...before,
    ...others,
    ...(memory ? { memory: { ...before.memory, ...memory } } : {}),
    ...(cpu ? { cpu: { ...before.cpu, ...cpu } } : {}),
  }
  await writeFile(`${file}.tmp`, JSON.stringify({ ...spec, linux: { ...spec.linux, resources } }), { mode: 0o600 })
  await rename(`${file}.tmp`, file)
}
