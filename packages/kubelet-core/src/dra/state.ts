// What the drivers of claims are to do when pods come and go. Pure.

/** As drivers know it. */
export interface ClaimRef {
  uid: string
  name: string
  namespace: string
}

/** A device that a driver prepared for a claim. */
export interface ClaimDevice {
  pool: string
  device: string
  /** Of a device that several claims share. */
  shareId?: string | undefined
  /** Those of the claim that it serves; none: all. */
  requests: readonly string[]
  /** CDI names, for instance `vendor.com/class=device`. */
  cdiIds: readonly string[]
}

/** A claim that pods of this node use. */
export interface ClaimInfo extends ClaimRef {
  podUids: ReadonlySet<string>
  /** Driver → what it prepared. */
  drivers: ReadonlyMap<string, readonly ClaimDevice[]>
  /** By all drivers, as this kubelet knows; after a restart they are asked anew. */
  prepared: boolean
}

/** By {@link keyOf}. */
export type Claims = ReadonlyMap<string, ClaimInfo>

export const keyOf = ({ namespace, name }: Pick<ClaimRef, 'namespace' | 'name'>): string => `${namespace}/${name}`

export interface ClaimPlan {
  /** As they are to be kept before any driver is called. */
  claims: ClaimInfo[]
  /** Driver → claims that it is to prepare, or to unprepare. */
  calls: Map<string, ClaimRef[]>
}

/**
 * A pod is to use these claims.
 * @throws Error when a claim of before still has the name of another one
 */
export function planPrepare(known: Claims, podUid: string, wanted: readonly ClaimInfo[]): ClaimPlan {
  const claims = wanted.map((claim) => {
    const before = known.get(keyOf(claim)) ?? claim
    if (before.uid !== claim.uid) {
      throw new Error(
        `old ResourceClaim with same name ${claim.name} and different UID ${before.uid} still exists (previous pod force-deleted?!)`,
      )
    }
    return { ...before, podUids: new Set([...before.podUids, podUid]) }
  })
  return { claims, calls: callsOf(claims.filter(({ prepared }) => !prepared)) }
}

/** A pod has ended: what others use stays as it is. */
export function planUnprepare(known: Claims, podUid: string): ClaimPlan {
  const own = claimsOf(known, podUid)
  const claims = own.filter(({ podUids }) => podUids.size > 1)
  return {
    claims: claims.map((claim) => ({ ...claim, podUids: new Set([...claim.podUids].filter((uid) => uid !== podUid)) })),
    calls: callsOf(own.filter(({ podUids }) => podUids.size === 1)),
  }
}

/** What drivers prepared takes the place of what they had. */
export function withPrepared(claim: ClaimInfo, done: ReadonlyMap<string, readonly ClaimDevice[]>): ClaimInfo {
  const drivers = new Map([...claim.drivers, ...done])
  return { ...claim, drivers, prepared: claim.prepared || done.size === drivers.size }
}

export const claimsOf = (known: Claims, podUid: string): ClaimInfo[] =>
  [...known.values()].filter(({ podUids }) => podUids.has(podUid))

function callsOf(claims: readonly ClaimInfo[]): Map<string, ClaimRef[]> {
  const calls = new Map<string, ClaimRef[]>()
  for (const { uid, name, namespace, drivers } of claims) {
    for (const driver of drivers.keys()) calls.set(driver, [...(calls.get(driver) ?? []), { uid, name, namespace }])
  }
  return calls
}
