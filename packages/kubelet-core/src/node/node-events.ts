// What is told about a node when its conditions, its boot or its schedulability change. Pure.
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import type { NodeletEvent } from '../events.ts'

/** Condition → reason when it is True, and when it is not. */
const reasons: Readonly<Record<string, readonly [string, string]>> = {
  MemoryPressure: ['NodeHasInsufficientMemory', 'NodeHasSufficientMemory'],
  DiskPressure: ['NodeHasDiskPressure', 'NodeHasNoDiskPressure'],
  PIDPressure: ['NodeHasInsufficientPID', 'NodeHasSufficientPID'],
  Ready: ['NodeReady', 'NodeNotReady'],
}

/** @param before undefined for a node that is new */
export function nodeEvents(before: Node | undefined, after: Node): NodeletEvent[] {
  const name = after.metadata?.name ?? ''
  const told = (reason: string): NodeletEvent => ({
    type: 'Normal',
    reason,
    message: `Node ${name} status is now: ${reason}`,
  })
  const changed = (after.status?.conditions ?? []).flatMap(({ type, status }) => {
    const known = reasons[type]
    const same = before?.status?.conditions?.some((one) => one.type === type && one.status === status)
    return known && !same ? [told(status === 'True' ? known[0] : known[1])] : []
  })
  const [bootBefore, boot] = [before, after].map((one) => one?.status?.nodeInfo?.bootID)
  const message = `Node ${name} has been rebooted, boot id: ${boot}`
  const rebooted = bootBefore && boot !== bootBefore
  const [closedBefore, closed] = [before, after].map((one) => one?.spec?.unschedulable ?? false)
  return [
    ...(rebooted ? [{ type: 'Warning' as const, reason: 'Rebooted', message }] : []),
    ...changed,
    ...(closed === closedBefore ? [] : [told(closed ? 'NodeNotSchedulable' : 'NodeSchedulable')]),
  ]
}
