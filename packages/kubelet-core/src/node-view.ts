// The pods and containers of this node as the kubelet's server asks for them.
import type { ContainerStatus, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { PodManager } from './pod/manager.ts'
import type { RuntimeReader } from './pod/runtime-read.ts'
import type { KubeletView } from './server/view.ts'

export function createNodeView(
  manager: Pick<PodManager, 'pods' | 'wake'>,
  reader: Pick<RuntimeReader, 'last' | 'onRead' | 'ownerOf'>,
): KubeletView {
  const podOf = (namespace: string, name: string): Pod | undefined =>
    manager.pods().find(({ metadata }) => metadata?.namespace === namespace && metadata.name === name)
  const runtimeOf = (pod: Pod) => reader.last(pod.metadata?.uid ?? '')

  return {
    pods: () => manager.pods(),
    container(namespace, name, container, previous = false) {
      const pod = podOf(namespace, name)
      if (!pod) return { error: 'pod does not exist', status: 404 }
      if (!hasContainer(pod, container)) return { error: `container not found ("${container}")`, status: 404 }
      const id = chosenId(statusOf(pod, container), previous)
      const chosen = runtimeOf(pod)?.containers.find((one) => one.id === id)
      if (chosen) return { containerId: chosen.id, logPath: chosen.logPath }
      return { error: refusalOf(pod, container, previous), status: 400 }
    },
    sandbox(namespace, name) {
      const pod = podOf(namespace, name)
      if (!pod) return { error: 'pod does not exist', status: 404 }
      const ready = runtimeOf(pod)?.sandboxes.find((one) => one.ready)
      if (ready) return { sandboxId: ready.id }
      return { error: `pod ${name}: its sandbox is not running`, status: 400 }
    },
    async ended(containerId, signal) {
      signal.throwIfAborted()
      const uid = reader.ownerOf(containerId)
      const runs = (): boolean =>
        reader.last(uid ?? '')?.containers.some(({ id, phase }) => id === containerId && phase === 'running') ?? false
      if (!runs()) return
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const stop = reader.onRead((read) => {
        if (read === uid && !runs()) resolve()
      })
      const abort = (): void => reject(signal.reason as Error)
      signal.addEventListener('abort', abort, { once: true })
      try {
        await promise
      } finally {
        stop()
        signal.removeEventListener('abort', abort)
      }
    },
  }
}

function hasContainer({ spec }: Pod, name: string): boolean {
  return [...(spec?.initContainers ?? []), ...(spec?.containers ?? []), ...(spec?.ephemeralContainers ?? [])].some(
    (container) => container.name === name,
  )
}

/** The running one, else the one that ended, else the one before; with `previous` always the one before. */
function chosenId(status: ContainerStatus | undefined, previous: boolean): string | undefined {
  const { state, lastState, containerID } = status ?? {}
  const before = lastState?.terminated?.containerID
  const now = state?.running ? containerID : (state?.terminated?.containerID ?? before)
  return (previous ? before : now)?.split('://')[1]
}

function statusOf({ status }: Pod, name: string): ContainerStatus | undefined {
  const { initContainerStatuses = [], containerStatuses = [], ephemeralContainerStatuses = [] } = status ?? {}
  return [...initContainerStatuses, ...containerStatuses, ...ephemeralContainerStatuses].find(
    (one) => one.name === name,
  )
}

function refusalOf(pod: Pod, name: string, previous: boolean): string {
  const podName = pod.metadata?.name
  const status = statusOf(pod, name)
  if (previous) return `previous terminated container "${name}" in pod "${podName}" not found`
  const reason = status?.state?.waiting?.reason
  const told: Record<string, string> = {
    ErrImagePull: 'trying and failing to pull image',
    ImagePullBackOff: 'trying and failing to pull image',
    ErrImageNeverPull: "image can't be pulled",
  }
  if (reason) return `container "${name}" in pod "${podName}" is waiting to start: ${told[reason] ?? reason}`
  if (status?.state?.terminated) return `container "${name}" in pod "${podName}" is terminated`
  return `container "${name}" in pod "${podName}" is not available`
}
