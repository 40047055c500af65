// Which pods must end so that a critical one fits. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { podQuantity } from '../resource/pod-resources.ts'
import { qosClass, type QosClass } from '../resource/qos.ts'
import { isPreemptible } from './critical.ts'
import type { Shortage } from './node-fit.ts'

/** Resource name → what is still missing, in thousandths; `pods` too. */
type Missing = ReadonlyMap<string, bigint>

const onePod = 1000n

const requestOf = (pod: Pod, name: string): bigint => (name === 'pods' ? onePod : podQuantity(pod, 'requests', name))

/** What is missing once these pods are gone. */
function less(missing: Missing, pods: readonly Pod[]): Missing {
  const left = [...missing].map(([name, amount]): [string, bigint] => [
    name,
    pods.reduce((rest, pod) => rest - requestOf(pod, name), amount),
  ])
  return new Map(left.filter(([, amount]) => amount > 0n))
}

/** How far from enough this pod's end would be: 0 is enough, 1 per resource is no help. */
function distance(missing: Missing, pod: Pod): number {
  let sum = 0
  for (const [name, amount] of missing) {
    const rest = Number(amount - requestOf(pod, name)) / Number(amount)
    if (rest > 0) sum += rest ** 2
  }
  return sum
}

/** Whether the first asks for no more: memory counts before cpu. */
function isSmaller(pod: Pod, other: Pod): boolean {
  for (const name of ['memory', 'cpu']) {
    const [a, b] = [requestOf(pod, name), requestOf(other, name)]
    if (a !== b) return a < b
  }
  return true
}

/** Takes the nearest to enough, again and again; of equals the smallest. */
function pick(pods: readonly Pod[], missing: Missing): Pod[] {
  const left = [...pods]
  const picked: Pod[] = []
  let rest = missing
  while (rest.size > 0 && left.length > 0) {
    const best = left.reduce((found, pod) => {
      const [a, b] = [distance(rest, pod), distance(rest, found)]
      return a < b || (a === b && isSmaller(pod, found)) ? pod : found
    })
    picked.push(best)
    left.splice(left.indexOf(best), 1)
    rest = less(rest, [best])
  }
  return picked
}

/**
 * The fewest and least important pods whose end makes room: as few Guaranteed as can be, then Burstable, then BestEffort.
 * @returns undefined when even all of them would not be enough
 */
export function victimsFor(pod: Pod, active: readonly Pod[], shortages: readonly Shortage[]): Pod[] | undefined {
  const missing: Missing = new Map(shortages.map(({ name, missing: amount }) => [name, amount]))
  const able = active.filter((one) => isPreemptible(pod, one))
  const of = (qos: QosClass): Pod[] => able.filter((one) => qosClass(one) === qos)
  const [bestEffort, burstable, guaranteed] = [of('BestEffort'), of('Burstable'), of('Guaranteed')]
  if (less(missing, able).size > 0) return undefined
  const fromGuaranteed = pick(guaranteed, less(missing, [...bestEffort, ...burstable]))
  const fromBurstable = pick(burstable, less(missing, [...bestEffort, ...fromGuaranteed]))
  const fromBestEffort = pick(bestEffort, less(missing, [...fromBurstable, ...fromGuaranteed]))
  return [...fromBestEffort, ...fromBurstable, ...fromGuaranteed]
}
