// The difference between a pod's status in the API and the one to tell, as a strategic merge patch. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { ownedConditions, passingConditions } from './pod/conditions.ts'
import type { ObservedStatus } from './pod/status.ts'

/** Lists that the API server merges by address: a change replaces them whole. */
const addressLists = new Set(['podIPs', 'hostIPs'])

const owned = [
  'observedGeneration',
  'phase',
  'reason',
  'message',
  'hostIP',
  'hostIPs',
  'podIP',
  'podIPs',
  'startTime',
  'initContainerStatuses',
  'containerStatuses',
  'ephemeralContainerStatuses',
  'qosClass',
  'resources',
  'allocatedResources',
] as const

/** Undefined when the API has it all already. Fields and conditions of others are left alone. */
export function statusPatch(
  uid: string,
  known: ObservedStatus | undefined,
  wanted: ObservedStatus,
): { metadata: { uid: string }; status: Record<string, unknown> } | undefined {
  const status: Record<string, unknown> = {}
  for (const field of owned) {
    const [before, after] = [known?.[field], wanted[field]]
    if (same(before, after)) continue
    if (after === undefined) status[field] = null
    else if (addressLists.has(field) && before) status[field] = [...(after as object[]), { $patch: 'replace' }]
    else status[field] = after
  }
  const conditions = (wanted.conditions ?? []).filter(
    (condition) =>
      ownedConditions.has(condition.type) &&
      !same(
        known?.conditions?.find(({ type }) => type === condition.type),
        condition,
      ),
  )
  const gone = (known?.conditions ?? [])
    .filter(({ type }) => passingConditions.has(type) && !wanted.conditions?.some((one) => one.type === type))
    .map(({ type }) => ({ type, $patch: 'delete' }))
  if (conditions.length + gone.length > 0) status['conditions'] = [...conditions, ...gone]
  return Object.keys(status).length === 0 ? undefined : { metadata: { uid }, status }
}

/** Equal as JSON, whatever the order of keys; null and absent are the same. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || !a || !b) return (a ?? undefined) === (b ?? undefined)
  if (Array.isArray(a) !== Array.isArray(b) || (Array.isArray(a) && a.length !== (b as unknown[]).length)) return false
  const [one, other] = [a as Record<string, unknown>, b as Record<string, unknown>]
  const isSame = (key: string): boolean => same(one[key], other[key])
  return Object.keys(one).every(isSame) && Object.keys(other).every((key) => key in one || isSame(key))
}

/** What a pod looks like with this status. */
export const withStatus = (pod: Pod, status: ObservedStatus | undefined): Pod => (status ? { ...pod, status } : pod)
