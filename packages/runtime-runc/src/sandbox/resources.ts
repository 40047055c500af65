// What a pod as a whole may use. The kubelet keeps its cgroup; here it is only remembered.
import { LinuxPodSandboxConfig } from '@nodelet/cri-api'
import { lockedSandbox, updateSandbox } from './context.ts'
import type { SandboxContext, SandboxEntry } from './context.ts'

/** `overhead` is the pod's beside its containers, `resources` the sum of theirs. */
export type PodResources = Pick<LinuxPodSandboxConfig, 'overhead' | 'resources'>

/** Stores what is there of both. */
export async function noteResources(
  context: SandboxContext,
  entry: SandboxEntry,
  { overhead, resources }: PodResources,
): Promise<void> {
  await lockedSandbox(entry, async () => {
    if (context.entries.get(entry.record.id) !== entry) return // removed meanwhile
    const { config } = entry.record
    const before = LinuxPodSandboxConfig.fromPartial(config.linux ?? {})
    const linux = { ...before, ...(overhead ? { overhead } : {}), ...(resources ? { resources } : {}) }
    await updateSandbox(context, entry, { config: { ...config, linux } })
  })
}
