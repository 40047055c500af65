// Mirror pods: how static pods are seen in the API.
import { isAlreadyExists, isNotFound, type KubeClient, nodes, pods } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Logger } from '../log.ts'
import { configHashAnnotation, mirrorAnnotation } from '../pod/labels.ts'
import { fullName } from './merge.ts'

export interface Mirrors {
  /** Makes the pod's mirror in the background when it is missing or not its image. */
  ensure(pod: Pod): void
  /** The pods and mirrors as they are; mirrors of no pod are removed. */
  update(statics: readonly Pod[], mirrors: ReadonlyMap<string, Pod>): void
  of(pod: Pod): Pod | undefined
}

/** The copy of a static pod for the API. Pure. */
export function mirrorOf(pod: Pod, node: { name: string; uid: string }): Pod {
  const { name = '', namespace = 'default', labels, annotations = {} } = pod.metadata ?? {}
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      ...(labels && { labels }),
      annotations: { ...annotations, [mirrorAnnotation]: annotations[configHashAnnotation] ?? '' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: node.name, uid: node.uid, controller: true }],
    },
    ...(pod.spec && { spec: pod.spec }),
  }
}

export function createMirrors(
  client: Pick<KubeClient, 'create' | 'delete' | 'get'>,
  nodeName: string,
  log: Logger,
): Mirrors {
  const busy = new Set<string>()
  let known: ReadonlyMap<string, Pod> = new Map()

  const once = (key: string, run: () => Promise<void>): void => {
    if (busy.has(key)) return
    busy.add(key)
    run()
      .catch((error: unknown) => log.warn({ err: error, pod: key }, 'mirror pod; tried again at the next sync'))
      .finally(() => busy.delete(key))
  }
  const remove = async ({ metadata }: Pod): Promise<void> => {
    const { name = '', namespace = '', uid } = metadata ?? {}
    try {
      await client.delete(pods, { name, namespace }, { gracePeriodSeconds: 0, ...(uid && { preconditions: { uid } }) })
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }
  const isImage = (mirror: Pod, pod: Pod): boolean =>
    !mirror.metadata?.deletionTimestamp &&
    mirror.metadata?.annotations?.[mirrorAnnotation] === pod.metadata?.annotations?.[configHashAnnotation]

  return {
    of: (pod) => known.get(fullName(pod)),
    ensure(pod) {
      const mirror = known.get(fullName(pod))
      if (mirror && isImage(mirror, pod)) return
      once(fullName(pod), async () => {
        if (mirror) await remove(mirror)
        const node = await client.get(nodes, { name: nodeName })
        try {
          await client.create(pods, mirrorOf(pod, { name: nodeName, uid: node.metadata?.uid ?? '' }))
        } catch (error) {
          if (!isAlreadyExists(error)) throw error
        }
      })
    },
    update(statics, mirrors) {
      known = mirrors
      const wanted = new Set(statics.map(fullName))
      for (const [key, mirror] of mirrors) if (!wanted.has(key)) once(key, async () => remove(mirror))
    },
  }
}
