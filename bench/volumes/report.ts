// The tables of what volumes cost.
import { median, number, quantile, table } from '../figures.ts'
import type { KindTimes, ManyFigures } from './manager.ts'
import type { NodeFigures } from './node.ts'

export interface Figures {
  kinds: readonly KindTimes[]
  many: readonly ManyFigures[]
  seconds: number
  node: NodeFigures | undefined
}

const ratio = (ours: number, base: number): string => (Number.isNaN(base) ? '–' : (ours / base).toFixed(1))

export function print({ kinds, many, seconds, node }: Figures): void {
  const rounds = kinds[0]?.times.get('all').length ?? 0
  const [plain] = kinds
  const of = ({ times }: KindTimes, name: string): number => median(times.get(name))
  const base = plain ? of(plain, 'all') : Number.NaN
  console.log(
    table([
      [
        `ms, medians of ${rounds} pods`,
        'create → mounted',
        'p90',
        'to no volume',
        'in the manager',
        'in the driver',
        'system calls',
        'ratio',
        'unmount',
      ],
      ...kinds.map((kind) => [
        `  ${kind.name}`,
        number(of(kind, 'all')),
        number(quantile(kind.times.get('all'), 0.9)),
        ratio(of(kind, 'all'), base),
        number(of(kind, 'mount')),
        number(of(kind, 'driver')),
        number(of(kind, 'bare')),
        ratio(of(kind, 'mount'), of(kind, 'bare')),
        number(of(kind, 'unmount')),
      ]),
      [],
      [
        'volumes of a configMap each',
        'all mounted, ms',
        'CPU ms each',
        'API server',
        'CPU % at rest',
        'API server',
        'change seen, ms',
        'p90',
        'CPU ms',
        'API server',
      ],
      ...many.map(({ volumes, mountMs, mountCpu, rest, changes, changeCpu }) => [
        `  ${volumes}`,
        number(mountMs),
        number(mountCpu.ours),
        number(mountCpu.server),
        number(rest.ours),
        number(rest.server),
        number(median(changes)),
        number(quantile(changes, 0.9)),
        number(changeCpu.ours),
        number(changeCpu.server),
      ]),
      ...(node ? ofNode(node) : []),
    ]),
  )
  console.log(`
the volume manager alone, pods by a watch of an API server that is another process; the drivers are in the process of the manager
to no volume: create → mounted to that of a pod without volumes; ratio: in the manager to the bare system calls in the same run
CPU of ${seconds} s at rest, in percent of one processor; of one change, with the request for it`)
  if (node)
    console.log(
      'node: kubelet and runtime as installed, a process apart; a change is looked for in the root of the container',
    )
}

function ofNode({ kinds, changes }: NodeFigures): string[][] {
  const base = median(kinds[0]?.ms ?? [])
  return [
    [],
    [`ms, node, ${kinds[0]?.ms.length} pods`, 'create → Running', 'p90', 'to no volume'],
    ...kinds.map(({ name, ms }) => [
      `  ${name}`,
      number(median(ms)),
      number(quantile(ms, 0.9)),
      ratio(median(ms), base),
    ]),
    [],
    ['ms, node, configMap changed', 'in the container', 'p90', 'max'],
    [`  ${changes.length} changes`, ...[0.5, 0.9, 1].map((share) => number(quantile(changes, share)))],
  ]
}
