// The live table of the demo's pods: what a watch saw of each, and when.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'

/** The steps of a pod's start, in order. */
export const phases = ['scheduled', 'network', 'started', 'ready'] as const
export type Phase = (typeof phases)[number]

/** One pod as the table shows it. Times are milliseconds since it was first seen. */
export interface PodRow {
  name: string
  status: string
  ip: string
  seenAt: number
  reached: Partial<Record<Phase, number>>
}

const condition = (pod: Pod, type: string): boolean =>
  pod.status?.conditions?.some((one) => one.type === type && one.status === 'True') ?? false

const tests: Record<Phase, (pod: Pod) => boolean> = {
  scheduled: (pod) => Boolean(pod.spec?.nodeName),
  network: (pod) => condition(pod, 'PodReadyToStartContainers') || Boolean(pod.status?.podIP),
  started: (pod) => pod.status?.phase === 'Running',
  ready: (pod) => condition(pod, 'Ready'),
}

/** What kubectl would call the pod's status: a waiting reason before the phase. */
export function statusOf(pod: Pod): string {
  if (pod.metadata?.deletionTimestamp) return 'Terminating'
  const waiting = pod.status?.containerStatuses?.find(({ state }) => state?.waiting?.reason)
  return waiting?.state?.waiting?.reason ?? pod.status?.phase ?? 'Pending'
}

/** The row after a watch event at `now`. */
export function nextRow(row: PodRow | undefined, pod: Pod, now: number): PodRow {
  const seenAt = row?.seenAt ?? now
  const reached = { ...row?.reached }
  for (const phase of phases) if (reached[phase] === undefined && tests[phase](pod)) reached[phase] = now - seenAt
  return { name: pod.metadata?.name ?? '', status: statusOf(pod), ip: pod.status?.podIP ?? '', seenAt, reached }
}

/** The table as lines of text. */
export function tableOf(rows: readonly PodRow[]): string[] {
  const head = ['POD', 'STATUS', 'IP', ...phases.map((phase) => `${phase.toUpperCase()} ms`)]
  const body = rows.map(({ name, status, ip, reached }) => [
    name,
    status,
    ip || '-',
    ...phases.map((phase) => (reached[phase] === undefined ? '·' : reached[phase].toFixed(0))),
  ])
  const widths = head.map((title, column) => Math.max(title.length, ...body.map((row) => row[column]?.length ?? 0)))
  return [head, ...body].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('   ')
      .trimEnd(),
  )
}
