// A sandbox's record as CRI shows it.
import { PodSandboxState, PodSandboxStatus as PodSandboxStatusMessage } from '@nodelet/cri-api'
import type { PodSandbox, PodSandboxConfig, PodSandboxStatus } from '@nodelet/cri-api'
import { nanoseconds } from '../container/status.ts'
import { networkStatusOf } from './network.ts'
import type { SandboxRecord } from './record.ts'

/** As other runtimes name a sandbox: one name is one attempt of one pod. */
export function sandboxName({ metadata }: Pick<PodSandboxConfig, 'metadata'>): string {
  const { name, namespace, uid, attempt } = metadata ?? {}
  return [name, namespace, uid, attempt].join('_')
}

/** One of ListPodSandbox. */
export function sandboxOf(record: Readonly<SandboxRecord>, ready: boolean): PodSandbox {
  const { id, config, createdAt, runtimeHandler } = record
  const { metadata, labels, annotations } = config
  const state = ready ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY
  return { id, metadata, state, createdAt: nanoseconds(createdAt), labels, annotations, runtimeHandler }
}

/** What PodSandboxStatus answers. */
export function sandboxStatusOf(record: Readonly<SandboxRecord>, ready: boolean): PodSandboxStatus {
  const options = record.config.linux?.securityContext?.namespaceOptions
  return PodSandboxStatusMessage.fromPartial({
    ...sandboxOf(record, ready),
    network: networkStatusOf(record.network),
    linux: { namespaces: options ? { options } : {} },
  })
}
