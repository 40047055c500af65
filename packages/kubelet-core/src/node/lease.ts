// The lease that says this node lives.
import { isAlreadyExists, isConflict, type KubeClient, leases } from '@nodelet/kube-client'
import type { Lease } from 'kubernetes-types/coordination/v1.d.ts'
import { apiMicroTime } from '../pod/time.ts'

const namespace = 'kube-node-lease'

/** @returns a function that makes or renews the lease: one request when nobody else touched it */
export function leaseRenewer(
  client: Pick<KubeClient, 'create' | 'get' | 'update'>,
  nodeName: string,
  leaseSeconds: number,
): (nodeUid: string, nowMs: number, signal: AbortSignal) => Promise<void> {
  let lease: Lease | undefined
  return async (nodeUid, nowMs, signal) => {
    const spec = { holderIdentity: nodeName, leaseDurationSeconds: leaseSeconds, renewTime: apiMicroTime(nowMs) }
    const known = lease
    lease = undefined
    try {
      lease = known ? await renew(known, spec, signal) : await create(nodeUid, spec, signal)
    } catch (error) {
      if (!isAlreadyExists(error) && !isConflict(error)) throw error
      lease = await renew(await client.get(leases, { name: nodeName, namespace }, { signal }), spec, signal)
    }
  }

  async function renew(there: Lease, spec: Lease['spec'], signal: AbortSignal): Promise<Lease> {
    return client.update(leases, { ...there, spec: { ...there.spec, ...spec } }, { signal })
  }

  async function create(uid: string, spec: Lease['spec'], signal: AbortSignal): Promise<Lease> {
    const ownerReferences = uid ? [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid }] : []
    const metadata = { name: nodeName, namespace, ownerReferences }
    return client.create(
      leases,
      { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, ...(spec && { spec }) },
      { signal },
    )
  }
}
