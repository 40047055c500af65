// Removing what is dead.
import { readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { removeContainerLog } from '../container-log/remove.ts'
import { hasCode } from '../errors.ts'
import { mountAt } from '../storage/bind.ts'
import { isPodUid } from '../volume/folders.ts'
import { removeTree } from '../volume/remove-tree.ts'
import type { RuntimePod } from './runtime-pod.ts'
import { podLogFolder } from './sandbox-config.ts'
import type { PodServices } from './services.ts'

/** Removes what newer instances replaced: of each container one dead stays, of dead sandboxes those that still have any. */
export async function prunePod({ runtime: service }: Pick<PodServices, 'runtime'>, runtime: RuntimePod): Promise<void> {
  const dead = new Map<string, number>()
  const occupied = new Set<string>()
  for (const { id, name, phase, sandboxId, logPath } of runtime.containers) {
    const isDead = phase === 'exited' || phase === 'created'
    const before = dead.get(name) ?? 0
    if (isDead) dead.set(name, before + 1)
    if (!isDead || before === 0) {
      occupied.add(sandboxId)
      continue
    }
    await service.removeContainer({ containerId: id })
    await removeContainerLog(logPath)
  }
  for (const { id, ready } of runtime.sandboxes.slice(1)) {
    if (!ready && !occupied.has(id)) await service.removePodSandbox({ podSandboxId: id })
  }
}

/** Removes the last of a pod that is wanted no more: its dead containers, logs and files. */
export async function removePod(
  services: Pick<PodServices, 'runtime' | 'reader' | 'node' | 'userNamespaces'>,
  pod: Pod,
): Promise<void> {
  const uid = pod.metadata?.uid ?? ''
  const { containers, sandboxes } = await services.reader.read(uid)
  for (const { id } of containers) await services.runtime.removeContainer({ containerId: id })
  for (const { id } of sandboxes) await services.runtime.removePodSandbox({ podSandboxId: id })
  services.reader.forget(uid)
  await services.userNamespaces.release(uid)
  await rm(podLogFolder(pod, services.node.podLogsDir), { recursive: true, force: true })
  await removePodFolder(services.node.rootDir, uid)
}

/**
 * Removes what is left on disk of pods that are gone: their end was interrupted. Their volumes go first.
 * @throws AggregateError when something stays
 */
export async function removeGonePods(
  { volumes, node: { rootDir } }: Pick<PodServices, 'volumes' | 'node'>,
  isKept: (podUid: string) => boolean,
): Promise<void> {
  const failures: unknown[] = []
  const fail = (error: unknown): void => void failures.push(error)
  await volumes.removeOrphans(isKept).catch(fail)
  for (const uid of await readdir(join(rootDir, 'pods'))) {
    if (!isPodUid(uid) || isKept(uid)) continue
    await removePodFolder(rootDir, uid).catch((cause: unknown) => {
      const what = `orphaned pod ${JSON.stringify(uid)} found, but failed to rmdir() its folder`
      fail(new Error(`${what}: ${(cause as Error).message}`, { cause }))
    })
  }
  if (failures.length > 0) throw new AggregateError(failures, 'what is left of pods that are gone could not be removed')
}

/** What it has beside volumes; `plugins` has the marks by which the Go kubelet knows which volumes it has made. */
const besideVolumes = ['containers', 'etc-hosts', 'journal.json', 'journal.json.tmp', 'plugins', 'userns.tmp']

async function removePodFolder(rootDir: string, podUid: string): Promise<void> {
  const folder = join(rootDir, 'pods', podUid)
  // Then its files may be another pod's.
  if (await mountAt(folder)) throw new Error(`${folder} is mounted: nothing in it was removed`)
  for (const name of besideVolumes) {
    await removeTree(join(folder, name)).catch((error: unknown) => {
      if (!hasCode(error, 'ENOENT')) throw error
    })
  }
  // Only when it is empty: what is in it otherwise may be the user's data, on a mount that would not go.
  await rmdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
}
