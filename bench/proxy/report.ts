// The tables of what the proxy costs.
import { median, number, quantile, table } from '../figures.ts'
import type { CaseFigures } from './case.ts'
import type { Lateness } from './lateness.ts'
import { sizeText, type Size } from './cluster.ts'
import type { Load } from './loads.ts'
import type { Where } from './modes.ts'

/** One size in one mode, as often as it was measured. */
export interface Measured {
  mode: string
  where: Where
  size: Size
  rounds: readonly CaseFigures[]
}

const kilobytes = (bytes: number): string => number(bytes / 1000)
const ratio = (ours: number, base: number | undefined): string =>
  base === undefined || Number.isNaN(base) ? '–' : (ours / base).toFixed(2)

export function print(all: readonly Measured[], limitSeconds: number): void {
  /** What was ended at the limit took longer than that. */
  const withRatio = (ours: number, base: number | undefined): string[] =>
    base === Number.POSITIVE_INFINITY
      ? [`> ${limitSeconds * 1000}`, `< ${ratio(ours, limitSeconds * 1000)}`]
      : [number(base), ratio(ours, base)]
  const rows = all.map(({ mode, where, size, rounds }) => {
    const one = (of: (figures: CaseFigures) => number): number => median(rounds.map(of))
    const changes = rounds.flatMap((round) => round.changes)
    const ofChange = (of: (load: Load) => number, at = 0.5): number => quantile(changes.map(of), at)
    const go = rounds.every((round) => round.go) && {
      whole: one(({ go: figures }) => figures?.wholeMs ?? Number.NaN),
      change: one(({ go: figures }) => figures?.changeMs ?? Number.NaN),
    }
    const whole = one((round) => round.whole.ms)
    const tool = one((round) => round.whole.toolMs)
    const change = ofChange(({ ms }) => ms)
    const plain = one(({ connections }) => connections.plain)
    const first = one(({ connections }) => connections.first)
    const last = one(({ connections }) => connections.last)
    const lateOf = (of: (figures: CaseFigures) => Lateness): string[] => [
      number(one((round) => of(round).max)),
      number(one((round) => of(round).p999)),
    ]
    return {
      name: `  ${sizeText(size)}, ${mode}${where === 'guest' ? ' (guest)' : ''}`,
      load: [
        number(one((round) => round.compileMs)),
        number(one((round) => round.textMs ?? Number.NaN)),
        number(whole),
        number(tool),
        ...withRatio(whole, go ? go.whole : undefined),
        kilobytes(one((round) => round.whole.bytes)),
        ...lateOf(({ late }) => late.whole),
        number(one((round) => round.residentMiB)),
        number(one((round) => round.peakMiB)),
      ],
      change: [
        number(change),
        number(ofChange(({ ms }) => ms, 0.9)),
        number(ofChange(({ toolMs }) => toolMs)),
        ...withRatio(change, go ? go.change : undefined),
        kilobytes(ofChange(({ bytes }) => bytes)),
        ...lateOf(({ late }) => late.changes),
      ],
      storm: [
        number(one(({ storm }) => storm.ms)),
        number(one(({ storm }) => storm.toolMs)),
        kilobytes(one(({ storm }) => storm.bytes)),
        ...lateOf(({ late }) => late.storm),
      ],
      connections: [number(plain), number(first), number(last), ratio(first, plain), ratio(last, plain)],
    }
  })
  const [size] = all
  const ofGo = ['Go text', 'ratio']
  console.log(
    table([
      ['start to synced, ms', 'compile', 'text', 'all', 'tool', ...ofGo, 'kB', 'loop late', 'p99.9', 'RSS MiB', 'peak'],
      ...rows.map(({ name, load }) => [name, ...load]),
      [],
      ['one endpoint changes, ms', 'p50', 'p90', 'tool', ...ofGo, 'kB', 'loop late', 'p99.9'],
      ...rows.map(({ name, change }) => [name, ...change]),
      [],
      ['many endpoints change, ms', 'all', 'tool', 'kB', 'loop late', 'p99.9'],
      ...rows.map(({ name, storm }) => [name, ...storm]),
      [],
      ['connections a second', 'plain', 'first', 'last', 'first/plain', 'last/plain'],
      ...rows.map(({ name, connections }) => [name, ...connections]),
    ]),
  )
  console.log(`
medians of ${size?.rounds.length} rounds; ${size?.rounds[0]?.changes.length} changes in each; compile and text: of the whole program, by themselves
guest: in User-Mode Linux, for this kernel has no IPVS: by itself several times slower, see plain
tool: while programs ran; kB: what they read, and what netlink carried; loop late: what one turn of the event loop computes at most, and in 999 of 1000 ms, ms; RSS: after many changes, and the most until then, of a process that runs the sources
many: one endpoint each of a thousand Services, or of all, at once; the API server is another process, over HTTP
Go text: the time of the same tool alone for what the Go proxy writes; ratio: all of ours to that
plain: to an endpoint, where there are no rules; first, last: to the Services that are first and last in the rules`)
}
