// The tables of a node's costs.
import { median, number, quantile, table } from '../figures.ts'
import type { Memory } from '../runtime/processes.ts'

export interface BurstFigures {
  up: number[]
  gone: number[]
  loop?: { p99: number; max: number } | undefined
  /** Seconds of processor of the node's process, for each pod. */
  cpu: number
}

export interface Rest {
  pods: number
  /** So many became Ready at once, in so much time. */
  ready?: { pods: number; ms: number }
  /** Of one processor. */
  cpuShare: number
  requests: (readonly [kind: string, count: number])[]
  node: Memory
  helpers: Memory
}

export interface Figures {
  base: number[]
  started: number[]
  removed: number[]
  cpu: number
  perPod: (readonly [kind: string, count: number])[]
  bursts: BurstFigures[]
  rest: Rest[]
  back: number
  next: number
  kept: number
}

export function print(figures: Figures): void {
  const { base, started, removed, bursts, rest } = figures
  const spread = (times: readonly number[]): string[] => [0, 0.5, 0.9, 1].map((share) => number(quantile(times, share)))
  const ratio = (times: readonly number[]): string => (median(times) / median(base)).toFixed(2)
  const requests = (all: readonly (readonly [string, number])[]): string =>
    all.map(([kind, count]) => `${kind} ${number(count)}`).join(', ') || 'none'
  console.log(
    table([
      [`ms, ${started.length} pods one by one`, 'min', 'p50', 'p90', 'max', 'ratio'],
      ['  baseline: the container alone', ...spread(base), '1.00'],
      ['  create → Running in the API', ...spread(started), ratio(started)],
      ['  delete → gone from the API', ...spread(removed), ratio(removed)],
      [],
      [
        'pods at once',
        'first ms',
        'p50',
        'last',
        'pods a second',
        'all gone ms',
        'CPU s a pod',
        'loop late p99 ms',
        'max',
      ],
      ...bursts.map(({ up, gone, loop, cpu }) => [
        `  ${up.length}`,
        number(quantile(up, 0)),
        number(median(up)),
        number(quantile(up, 1)),
        number((up.length * 1000) / quantile(up, 1)),
        number(quantile(gone, 1)),
        cpu.toFixed(3),
        number(loop?.p99),
        number(loop?.max),
      ]),
      [],
      ['pods at rest, two probes each', 'CPU %', 'node MiB', 'proportional', 'beside it, proportional'],
      ...rest.map(({ pods, cpuShare, node, helpers }) => [
        `  ${pods}`,
        number(cpuShare * 100),
        number(node.resident),
        number(node.proportional),
        number(helpers.proportional),
      ]),
    ]),
  )
  console.log(`\none pod's life takes ${figures.cpu.toFixed(3)} s of the node's processor`)
  console.log(`and asks the API server: ${requests(figures.perPod)}`)
  for (const { ready } of rest)
    if (ready) console.log(`${ready.pods} pods became Ready at once in ${number(ready.ms)} ms`)
  for (const { pods, requests: all } of rest) console.log(`${pods} pods at rest ask: ${requests(all)}`)
  console.log(
    `after kill -9 with ${figures.kept} pods the node is up in ${number(figures.back)} ms, a pod then in ${number(figures.next)}`,
  )
}
