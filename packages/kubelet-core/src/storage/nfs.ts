// Folders of NFS servers, mounted by mount(8): names are looked up, and versions agreed upon, by its helper.
import { isIPv6 } from 'node:net'
import { removeEmpty } from '../volume/mounts.ts'
import type { NfsPlan } from '../volume/plan.ts'
import { makeVolumeFolder } from '../volume/volume-folder.ts'
import { programFailure, runApart } from './apart.ts'
import { mountAt } from './bind.ts'

/** How long mount may take, in milliseconds. */
const mountMs = 120_000

/** Mounts unless it is mounted. @throws Error in the words of the Go kubelet, with what mount said */
export async function setUpNfs(plan: NfsPlan, target: string, signal: AbortSignal | undefined): Promise<void> {
  if (await mountAt(target)) return
  await makeVolumeFolder(target, 0o750)
  const options = [...new Set([...plan.mountOptions, ...(plan.readOnly ? ['ro'] : [])])].toSorted()
  const server = isIPv6(plan.server) ? `[${plan.server}]` : plan.server
  const words = [
    '-t',
    'nfs',
    ...(options.length > 0 ? ['-o', options.join(',')] : []),
    `${server}:${plan.path}`,
    target,
  ]
  try {
    await runApart('mount', words, { timeoutMs: mountMs, signal })
  } catch (cause) {
    if (!(await mountAt(target))) await removeEmpty(target)
    signal?.throwIfAborted()
    throw programFailure('mount', 'Mounting', words, cause)
  }
}
