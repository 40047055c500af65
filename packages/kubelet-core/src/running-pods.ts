// What the runtime runs, as pods: those that nobody wants too.
import { ContainerState, type RuntimeService } from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { containerNameLabel, podNameLabel, podNamespaceLabel, podUidLabel } from './pod/labels.ts'

/** Name, namespace, UID and containers: all that labels tell. */
export async function runningPods(
  runtime: Pick<RuntimeService, 'listContainers'>,
  signal: AbortSignal,
): Promise<Pod[]> {
  const { containers } = await runtime.listContainers({}, { signal })
  const running = containers.filter(({ state }) => state === ContainerState.CONTAINER_RUNNING)
  const pods = Map.groupBy(running, ({ labels }) => labels[podUidLabel] ?? '')
  return [...pods].flatMap(([uid, own]): Pod[] => {
    const labels = own[0]?.labels ?? {}
    if (!uid) return []
    return [
      {
        metadata: { name: labels[podNameLabel] ?? '', namespace: labels[podNamespaceLabel] ?? '', uid },
        spec: {
          containers: own.map(({ labels: of, image, imageRef }) => ({
            name: of[containerNameLabel] ?? '',
            image: image?.userSpecifiedImage || image?.image || imageRef,
          })),
        },
        status: {},
      },
    ]
  })
}
