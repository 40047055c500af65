// The end of every pod of this node.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { killPod, podGrace } from './kill.ts'
import type { PodServices } from './services.ts'
import { removePod } from './prune.ts'

/** Ends and removes all that the runtime has. All are tried; what failed is thrown together. */
export async function removeEveryPod(services: PodServices): Promise<void> {
  const uids = await services.reader.podUids()
  const results = await Promise.allSettled(
    [...uids].map(async ([uid, { name, namespace }]) => {
      const pod: Pod = { metadata: { uid, name, namespace }, spec: { containers: [] } }
      const runtime = await services.reader.read(uid)
      await killPod(services, pod, runtime, { graceSeconds: podGrace(pod, runtime) })
      await services.volumes.unmount(uid)
      await removePod(services, pod)
      await services.cgroups?.remove(uid)
    }),
  )
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []))
  if (failures.length > 0) {
    throw new AggregateError(failures, `removing pods: ${failures.map(({ message }) => message).join('; ')}`)
  }
}
