// What of a node's status must be told. Pure.
import type { NodeStatus } from 'kubernetes-types/core/v1.d.ts'

/** Fields that differ, heartbeats aside; undefined when none does. */
export function statusChanges(before: NodeStatus | undefined, after: NodeStatus): Partial<NodeStatus> | undefined {
  const known = new Map<string, unknown>(Object.entries(before ?? {}))
  const fields = Object.entries(after).filter(([key, value]) =>
    key === 'conditions' ? heartless(before) !== heartless(after) : print(known.get(key)) !== print(value),
  )
  if (fields.length === 0) return undefined
  return { ...Object.fromEntries(fields), ...(after.conditions && { conditions: after.conditions }) }
}

const heartless = ({ conditions }: NodeStatus = {}): string =>
  print(conditions?.map(({ lastHeartbeatTime: _, ...condition }) => condition))

/** The same text for the same value, whatever the order of keys; an empty list is as good as none. */
function print(value: unknown): string {
  if (Array.isArray(value) && value.length === 0) return print(undefined)
  return JSON.stringify(sortKeys(value)) ?? ''
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, field]) => [key, sortKeys(field)]),
  )
}
