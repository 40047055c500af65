// The tables.
import { median, number, quantile, table } from '../figures.ts'
import type { Times } from '../figures.ts'
import { listSteps } from './lists.ts'
import type { Peer } from './peers.ts'
import { podSteps } from './pods.ts'
import type { Memory } from './processes.ts'
import type { PullFigures } from './pull.ts'

export interface Figures {
  idle?: Memory
  single: Times
  burst: Times
  lists: Times
  pulls: PullFigures[]
  memory?: { before: Memory; full: Memory; helpers: Memory; pods: number }
}

export interface Sizes {
  single: number
  burst: number
  rounds: number
  pods: number
  megabytes: number
  compressed: number
}

type Cell = (figures: Figures) => number | undefined

export function print(peers: readonly Peer[], figures: ReadonlyMap<Peer, Figures>, sizes: Sizes): void {
  const all = peers.map((peer) => figures.get(peer)!)
  const ratio = (cell: Cell): string[] => {
    const [ours] = all.map(cell)
    const theirs = all.map(cell)[peers.findIndex(({ isReference }) => isReference)]
    return ours === undefined || theirs === undefined || Number.isNaN(theirs) ? [] : [(ours / theirs).toFixed(2)]
  }
  const heads = (columns: string): string[] => [
    ...peers.map(({ name }) => `${name}${columns}`),
    ...(peers.some(({ isReference }) => isReference) ? ['ratio'] : []),
  ]
  const timeRow = (title: string, pick: (one: Figures) => Times): string[] => [
    `  ${title}`,
    ...all.map((one) => {
      const times = pick(one).get(title)
      return times.length === 0 ? '–' : `${number(median(times))} [${number(quantile(times, 0.9))}]`
    }),
    ...ratio((one) => median(pick(one).get(title))),
  ]
  const row = (title: string, cell: Cell): string[] => [
    `  ${title}`,
    ...all.map((one) => number(cell(one))),
    ...ratio(cell),
  ]
  const rows: string[][] = [
    [`ms, median [p90] of ${sizes.single} pods one by one`, ...heads('')],
    ...podSteps.map((step) => timeRow(step, ({ single }) => single)),
    [],
    [`${sizes.burst} pods at once, ${sizes.rounds} times`, ...heads('')],
    ...podSteps.map((step) => timeRow(step, ({ burst }) => burst)),
    timeRow('all run', ({ burst }) => burst),
    timeRow('all are gone', ({ burst }) => burst),
    row('pods a second', ({ burst }) => (sizes.burst * 1000) / median(burst.get('all run'))),
  ]
  if (all[0]?.pulls.length) {
    const pulled =
      (pick: (one: PullFigures) => number | undefined): Cell =>
      ({ pulls }) =>
        median(pulls.map((one) => pick(one) ?? Number.NaN))
    const { megabytes, compressed } = sizes
    rows.push(
      [],
      [`pull of ${megabytes} MiB (${number(compressed)} compressed) in five layers`, ...heads('')],
      row(
        'seconds',
        pulled(({ seconds }) => seconds),
      ),
      row(
        'MiB/s unpacked',
        pulled(({ seconds }) => megabytes / seconds),
      ),
      row(
        'seconds of processor',
        pulled(({ cpu }) => cpu),
      ),
      row(
        'MiB resident at the most',
        pulled(({ peak }) => peak),
      ),
      row(
        'MiB more than before',
        pulled(({ growth }) => growth),
      ),
    )
    for (const at of ['p50', 'p99', 'max']) {
      rows.push(
        row(
          `event loop late, ms ${at}`,
          pulled(({ loopDelay }) => loopDelay?.[at]),
        ),
      )
    }
  }
  if (all[0]?.memory) {
    const perPod =
      (pick: (one: Memory) => number): Cell =>
      ({ memory }) =>
        memory && pick(memory.helpers) / memory.pods
    rows.push(
      [],
      [`ms, median [p90] of 20 calls at ${sizes.pods} pods`, ...heads('')],
      ...listSteps.map((step) => timeRow(step, ({ lists }) => lists)),
      [],
      ['memory, MiB', ...heads('')],
      row('daemon at its start, resident', ({ idle }) => idle?.resident),
      row('daemon at its start, proportional', ({ idle }) => idle?.proportional),
      row(`daemon at ${sizes.pods} pods, resident`, ({ memory }) => memory?.full.resident),
      row(`daemon at ${sizes.pods} pods, proportional`, ({ memory }) => memory?.full.proportional),
      row(
        'beside the daemon per pod, resident',
        perPod(({ resident }) => resident),
      ),
      row(
        'beside the daemon per pod, proportional',
        perPod(({ proportional }) => proportional),
      ),
    )
  }
  console.log(table(rows))
}
