// What of a node's status must be told. Pure.
import type { NodeStatus } from 'kubernetes-types/core/v1.d.ts'

const quantities = ['capacity', 'allocatable'] as const

/**
 * The status with what others say of the node: conditions of other types, and resources that somebody else counts, of which
 * all may be given out.
 */
export function withForeign(own: NodeStatus, inApi: NodeStatus | undefined): NodeStatus {
  const types = new Set((own.conditions ?? []).map(({ type }) => type))
  const conditions = [...(own.conditions ?? []), ...(inApi?.conditions ?? []).filter(({ type }) => !types.has(type))]
  const foreign = Object.entries(inApi?.capacity ?? {}).filter(([name]) => own.capacity?.[name] === undefined)
  const extended = Object.fromEntries(foreign.filter(([name]) => name.includes('/') || name.startsWith('hugepages-')))
  return {
    ...own,
    conditions,
    ...Object.fromEntries(quantities.map((field) => [field, { ...extended, ...own[field] }])),
  }
}

/** Fields that differ, heartbeats aside; undefined when none does. */
export function statusChanges(before: NodeStatus | undefined, after: NodeStatus): Partial<NodeStatus> | undefined {
  const known = new Map<string, unknown>(Object.entries(before ?? {}))
  const fields = Object.entries(after).filter(([key, value]) =>
    key === 'conditions' ? heartless(before, after) !== heartless(after) : print(known.get(key)) !== print(value),
  )
  if (fields.length === 0) return undefined
  return { ...Object.fromEntries(fields), ...(after.conditions && { conditions: after.conditions }) }
}

/** @param like whose conditions count, in its order; default: its own */
const heartless = ({ conditions = [] }: NodeStatus = {}, like: NodeStatus = { conditions }): string =>
  print(
    (like.conditions ?? []).map(({ type }) => {
      const { lastHeartbeatTime: _, ...condition } = conditions.find((one) => one.type === type) ?? {}
      return condition
    }),
  )

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
