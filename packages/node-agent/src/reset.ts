// Removes everything that a node made on this machine: containers, mounts, namespaces, cgroups, links, rules, folders.
import { existsSync } from 'node:fs'
import { removeNetwork } from '@nodelet/cni-plugins'
import { openCgroups } from '@nodelet/linux'
import { attachedDisks, rootSlicePath } from '@nodelet/kubelet-core'
import { removeNodeRules } from '@nodelet/proxy-rules'
import type { Logger } from 'pino'
import { bridgeName, openNodeRuntime } from './compose.ts'
import { foldersOf } from './config.ts'
import type { NodeConfig } from './config.ts'
import { agentStatus } from './control/client.ts'
import { CommandError } from './errors.ts'
import { releaseFolders } from './kubelet-folder.ts'
import { removeFolders } from './remove-folders.ts'

/** How long containers get to end before they are killed, in milliseconds. */
const stopMs = 2_000

/**
 * Puts the machine back. Safe to run again, and after a crash at any point. Volumes are unmounted, and what is in them stays.
 * @param step told of each step before it is done
 * @throws CommandError while an agent runs
 */
export async function resetMachine(config: NodeConfig, log: Logger, step: (title: string) => void): Promise<void> {
  const folders = foldersOf(config)
  const agent = await agentStatus(folders.controlSocket)
  if (agent) throw new CommandError(`nodelet runs here as process ${agent.pid}`, `stop it first: kill ${agent.pid}`)
  if (existsSync(folders.runtime)) {
    step('pods')
    await removeSandboxes(config, log)
  }
  step('rules')
  await removeNodeRules()
  await removeNetwork({ bridge: bridgeName })
  step('cgroups')
  const cgroups = await openCgroups()
  const { cgroupDriver, cgroupRoot } = config
  const ofPods = cgroupDriver === 'systemd' ? rootSlicePath(cgroupRoot) : cgroupRoot
  if (await cgroups.exists(ofPods)) await cgroups.kill(ofPods)
  await cgroups.remove(ofPods)
  step('mounts and folders')
  const forgetDisks = await attachedDisks(folders.kubelet, log)
  await releaseFolders(config.root)
  await removeFolders([config.root, config.run])
  await forgetDisks()
}

async function removeSandboxes(config: NodeConfig, log: Logger): Promise<void> {
  await using opened = new AsyncDisposableStack()
  const { runtime } = await openNodeRuntime(config, log, opened)
  const { runtimeService } = runtime
  const { containers } = await runtimeService.listContainers({})
  await Promise.all(
    containers.map(async ({ id }) => {
      await runtimeService.stopContainer({ containerId: id, timeout: BigInt(stopMs / 1000) })
      await runtimeService.removeContainer({ containerId: id })
    }),
  )
  const { items } = await runtimeService.listPodSandbox({})
  await Promise.all(
    items.map(async ({ id }) => {
      await runtimeService.stopPodSandbox({ podSandboxId: id })
      await runtimeService.removePodSandbox({ podSandboxId: id })
    }),
  )
}
