// Pods as requests name them.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { HttpError } from './http-error.ts'
import type { PodPath } from './routes.ts'
import type { KubeletView } from './view.ts'

/** @throws HttpError 404 */
export function requirePod(node: KubeletView, { namespace, pod, uid }: PodPath): Pod {
  const found = findPod(node, { namespace, pod, ...(uid === undefined ? {} : { uid }) })
  if (!found) throw new HttpError(404, 'pod does not exist')
  return found
}

/** The container that a command is for, or that is attached to: one that does not run is not there. @throws HttpError 404 */
export function requireContainer(node: KubeletView, path: PodPath & { container: string }): { containerId: string } {
  requirePod(node, path)
  const found = node.container(path.namespace, path.pod, path.container)
  if ('error' in found) throw new HttpError(404, `container not found ("${path.container}")`)
  return found
}

export function findPod(node: KubeletView, { namespace, pod, uid }: PodPath): Pod | undefined {
  return node
    .pods()
    .find(
      ({ metadata }) =>
        metadata?.namespace === namespace && metadata.name === pod && (uid === undefined || metadata.uid === uid),
    )
}

/** Whether the pod's spec has a container of that name, of any kind. */
export function hasContainer({ spec }: Pod, name: string): boolean {
  const all = [...(spec?.containers ?? []), ...(spec?.initContainers ?? []), ...(spec?.ephemeralContainers ?? [])]
  return all.some((container) => container.name === name)
}
