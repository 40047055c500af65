// What the parts of the RuntimeService share.
import type { ContainerEventResponse, ContainerEventType } from '@nodelet/cri-api'
import type { Cni } from '@nodelet/cni-plugins'
import { containerStatusOf } from './container/status.ts'
import type { Containers } from './container/containers.ts'
import type { ContainerRecord } from './container/record.ts'
import type { StatsReader } from './container/stats.ts'
import { findById } from './container/filter.ts'
import type { EventHub } from './events.ts'
import type { Handlers } from './handlers.ts'
import type { Images } from './image/images-api.ts'
import type { Sandboxes } from './sandbox/sandboxes.ts'
import { sandboxStatusOf } from './sandbox/status.ts'
import type { Streaming } from './streaming/server.ts'
import type { ContainerStatus } from '@nodelet/cri-api'

export interface ServiceContext {
  sandboxes: Sandboxes
  containers: Containers
  images: Pick<Images, 'resolve' | 'list' | 'prepareRootfs' | 'prepareView' | 'rootfsUsage' | 'root'>
  cni: Cni
  streaming?: Streaming
  events: EventHub<ContainerEventResponse>
  stats: StatsReader
  name: string
  version: string
  handlers: Handlers
  /** Why pods cannot have user namespaces on this machine; absent when they can. */
  noUserNamespaces?: string
}

/** The containers that CRI shows: those that are made, without the sandboxes' own. */
export function shownContainers({ containers }: ServiceContext): Readonly<ContainerRecord>[] {
  return containers.list().filter(({ phase, isInfra }) => phase !== 'creating' && !isInfra)
}

/** The whole ID of a container; what is not found stays as it is, for the operation to judge. */
export const containerId = (context: ServiceContext, id: string): string =>
  findById('container', shownContainers(context), id)?.id ?? id

/** As `containerId`. */
export const sandboxId = ({ sandboxes }: ServiceContext, id: string): string =>
  findById('sandbox', sandboxes.list(), id)?.id ?? id

export function statusOf({ images }: ServiceContext, record: Readonly<ContainerRecord>): ContainerStatus {
  return containerStatusOf(
    record,
    record.imageId === undefined ? undefined : images.resolve(record.imageId)?.repoTags[0],
  )
}

/** Tells the readers what happened, with the pod as it is after it. */
export function tell(context: ServiceContext, type: ContainerEventType, id: string, podId: string): void {
  const { sandboxes, events } = context
  events.emit(() => {
    const sandbox = sandboxes.list().find((one) => one.id === podId)
    const statuses = shownContainers(context).filter((record) => record.sandboxId === podId)
    return {
      containerId: id,
      containerEventType: type,
      createdAt: BigInt(Date.now()) * 1_000_000n,
      ...(sandbox && { podSandboxStatus: sandboxStatusOf(sandbox, sandboxes.isReady(podId)) }),
      containersStatuses: statuses.map((record) => statusOf(context, record)),
    }
  })
}
