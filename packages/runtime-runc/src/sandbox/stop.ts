// Ending and removing a sandbox, from whatever point it came to.
import { join } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { lockedSandbox, noteSandbox } from './context.ts'
import type { SandboxContext, SandboxEntry } from './context.ts'
import { dropNamespaces, pinPaths } from './namespaces.ts'
import { podNetwork } from './network.ts'
import { removePodFiles } from './pod-files.ts'
import { removeSandboxRecord } from './store.ts'
import { crashPoint } from '../crash-points.ts'

const NETWORK_LIMIT_MS = 60_000

/**
 * Kills the containers, gives the network back and lets the namespaces go. Fine for one that is stopped.
 *
 * @throws Error when CNI cannot take back what it gave: stop again.
 */
export async function stopSandbox(context: SandboxContext, entry: SandboxEntry): Promise<void> {
  await lockedSandbox(entry, async () => {
    if (isGone(context, entry) || entry.record.phase === 'stopped') return
    await noteSandbox(context, entry, { phase: 'stopping' }) // from here it takes no container
    crashPoint('sandbox/stopping')
    entry.ending.abort(new CriError('ABORTED', `sandbox ${entry.record.id} is being stopped: make another`))
    await Promise.allSettled(entry.uses)
    await endSandbox(context, entry)
    await noteSandbox(context, entry, { phase: 'stopped' })
    crashPoint('sandbox/stopped')
    context.emit({ type: 'stopped', sandbox: entry.record })
  })
}

/** Stops the sandbox, and removes it with its containers. */
export async function removeSandbox(context: SandboxContext, entry: SandboxEntry): Promise<void> {
  await stopSandbox(context, entry)
  await lockedSandbox(entry, async () => {
    if (isGone(context, entry)) return // another call was faster
    await noteSandbox(context, entry, { removing: true })
    crashPoint('sandbox/removing')
    await discardSandbox(context, entry)
    context.emit({ type: 'deleted', sandbox: entry.record })
  })
}

/** Ends what runs and holds. May be run again. */
export async function endSandbox(context: SandboxContext, entry: SandboxEntry): Promise<void> {
  const { folders, containers } = context
  const { id, infraId } = entry.record
  const own = containersOf(context, id)
  await Promise.all(own.filter((one) => one !== infraId).map((one) => containers.endNow(one)))
  if (infraId !== undefined) await containers.stop(infraId, 0)
  crashPoint('sandbox/containers-stopped')
  if (entry.record.networkOwed) await giveNetworkBack(context, entry)
  dropNamespaces(folders.namespaces, id)
  await context.releaseViews(id)
  crashPoint('sandbox/unpinned')
}

/** Removes what is left of an ended sandbox. May be run again. */
export async function discardSandbox(context: SandboxContext, entry: SandboxEntry): Promise<void> {
  const { folders, containers, cgroups, entries } = context
  const { id, ownCgroup, cgroupParent } = entry.record
  await Promise.all(containersOf(context, id).map((one) => containers.remove(one)))
  crashPoint('sandbox/containers-removed')
  await removePodFiles(join(folders.pods, id))
  crashPoint('sandbox/files-removed')
  if (ownCgroup) await cgroups.remove(cgroupParent)
  crashPoint('sandbox/cgroup-removed')
  await removeSandboxRecord(folders, id)
  crashPoint('sandbox/removed')
  entries.delete(id)
}

/** What CNI never finished giving it may fail to take back: that must not keep the pod for ever. */
async function giveNetworkBack(context: SandboxContext, entry: SandboxEntry): Promise<void> {
  const { id, config, network } = entry.record
  const netns = pinPaths(context.folders.namespaces, id, config).net ?? ''
  try {
    const pod = { ...podNetwork(id, config, netns), namespaceGoes: true }
    await context.cni.del(pod, AbortSignal.timeout(NETWORK_LIMIT_MS))
    crashPoint('sandbox/network-deleted')
  } catch (cause) {
    const error = new Error(`giving back the network of sandbox ${id}: ${(cause as Error).message}`, { cause })
    if (network) throw error
    context.onProblem(error)
  }
  await noteSandbox(context, entry, { networkOwed: false })
  crashPoint('sandbox/network-paid')
}

const containersOf = ({ containers }: SandboxContext, id: string): string[] =>
  containers
    .list()
    .filter(({ sandboxId }) => sandboxId === id)
    .map((record) => record.id)

const isGone = (context: SandboxContext, entry: SandboxEntry): boolean => context.entries.get(entry.record.id) !== entry
