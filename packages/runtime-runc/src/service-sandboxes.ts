// The RuntimeService's calls about sandboxes.
import { CriError } from '@nodelet/cri-api'
import type { PodSandboxFilter, RuntimeService } from '@nodelet/cri-api'
import { PodSandbox } from '@nodelet/cri-api'
import { batches } from './batches.ts'
import { filterSandboxes } from './container/filter.ts'
import { sandboxInfo } from './sandbox/info.ts'
import { sandboxName, sandboxOf, sandboxStatusOf } from './sandbox/status.ts'
import type { ServiceContext } from './service-context.ts'
import { sandboxId, shownContainers, statusOf } from './service-context.ts'
import { createSharedCalls } from './shared-calls.ts'
import { askedIdMappings } from './spec/user-namespace.ts'
import { validateSandbox } from './streaming/validate.ts'

type SandboxCalls = Pick<
  RuntimeService,
  | 'runPodSandbox'
  | 'stopPodSandbox'
  | 'removePodSandbox'
  | 'podSandboxStatus'
  | 'listPodSandbox'
  | 'streamPodSandboxes'
  | 'updatePodSandboxResources'
  | 'portForward'
>

export function sandboxCalls(context: ServiceContext): SandboxCalls {
  const { sandboxes, streaming } = context
  const shared = createSharedCalls<string>((id) => sandboxes.list().some((one) => one.id === id))
  const list = (filter: PodSandboxFilter | undefined): PodSandbox[] => {
    const all = sandboxes.list().filter(({ phase }) => phase !== 'creating')
    const inAnyState = filter && { ...filter, state: undefined }
    const wanted = filterSandboxes(
      all.map((record) => sandboxOf(record, true)),
      inAnyState,
    )
    // Whether one is ready is asked of the kernel: only of those that are wanted.
    const ids = new Set(wanted.map(({ id }) => id))
    const known = all.filter(({ id }) => ids.has(id)).map((record) => sandboxOf(record, sandboxes.isReady(record.id)))
    return filterSandboxes(known, filter?.state && { id: '', labelSelector: {}, state: filter.state })
  }
  return {
    runPodSandbox: async ({ config, runtimeHandler }, { signal } = {}) => {
      const options = config?.linux?.securityContext?.namespaceOptions
      if (context.noUserNamespaces !== undefined && askedIdMappings(options)) {
        throw new CriError(
          'FAILED_PRECONDITION',
          `this machine has no user namespaces for pods: ${context.noUserNamespaces}; set hostUsers to true`,
        )
      }
      const key = sandboxName({ metadata: config?.metadata })
      const run = (): Promise<string> => sandboxes.run(config, runtimeHandler)
      return { podSandboxId: await shared.call({ key, content: [config, runtimeHandler], signal }, run) }
    },
    stopPodSandbox: async ({ podSandboxId }) => {
      await sandboxes.stop(sandboxId(context, podSandboxId))
      return {}
    },
    removePodSandbox: async ({ podSandboxId }) => {
      await sandboxes.remove(sandboxId(context, podSandboxId))
      return {}
    },
    podSandboxStatus: async ({ podSandboxId, verbose }) => {
      const record = sandboxes.status(sandboxId(context, podSandboxId))
      const { id } = record
      const statuses = shownContainers(context).filter((container) => container.sandboxId === id)
      return {
        status: sandboxStatusOf(record, sandboxes.isReady(id)),
        info: verbose ? { info: JSON.stringify(await sandboxInfo(context, record)) } : {},
        containersStatuses: statuses.map((container) => statusOf(context, container)),
        timestamp: BigInt(Date.now()) * 1_000_000n,
      }
    },
    listPodSandbox: async ({ filter }) => ({ items: list(filter) }),
    async *streamPodSandboxes({ filter }) {
      for await (const podSandboxes of batches(list(filter), PodSandbox)) yield { podSandboxes }
    },
    // The kubelet sets the pod's cgroup itself: this is for those who ask for the sandbox's configuration.
    updatePodSandboxResources: async ({ podSandboxId, overhead, resources }) => {
      await sandboxes.noteResources(sandboxId(context, podSandboxId), { overhead, resources })
      return {}
    },
    portForward: async (request) => {
      if (!streaming) throw new CriError('UNIMPLEMENTED', 'this runtime has no streaming server: start it with one')
      validateSandbox(request.podSandboxId)
      const { id } = sandboxes.status(sandboxId(context, request.podSandboxId))
      sandboxes.assertReady(id)
      return { url: streaming.portForward({ ...request, podSandboxId: id }) }
    },
  }
}
