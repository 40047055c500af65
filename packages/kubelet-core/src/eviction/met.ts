// Which thresholds are met, since when, and what follows for the node. Pure.
import type { Pressure } from '../admission/checks.ts'
import { pressureOf, resourceOf } from './signals.ts'
import { amountIn, type Threshold } from './thresholds.ts'
import type { Observations } from './usage.ts'

/** What the loop remembers between rounds. */
export interface EvictionMemory {
  /** Thresholds that were met and whose minimum reclaim is not reached, with when they were first met. */
  since: ReadonlyMap<Threshold, number>
  /** When a condition's threshold was last met. */
  pressedMs: ReadonlyMap<Pressure, number>
  /** Those that called for action in the last round, and what was seen then. */
  acted: ReadonlyMap<Threshold, number>
}

export const blankMemory: EvictionMemory = { since: new Map(), pressedMs: new Map(), acted: new Map() }

export interface Round {
  memory: EvictionMemory
  /** Conditions of the node. */
  pressure: Pressure[]
  /** Thresholds to act upon, the most urgent first. */
  due: Threshold[]
}

/** @param transitionMs `evictionPressureTransitionPeriod` */
export function nextRound(
  before: EvictionMemory,
  thresholds: readonly Threshold[],
  observations: Observations,
  nowMs: number,
  transitionMs: number,
): Round {
  const met = thresholds.filter((one) => isMet(one, observations, before.acted.has(one)))
  const since = new Map(met.map((one) => [one, before.since.get(one) ?? nowMs]))
  const pressedMs = new Map(before.pressedMs)
  for (const { signal } of met) pressedMs.set(pressureOf(signal), nowMs)
  const pressure = [...pressedMs].flatMap(([one, lastMs]) => (nowMs - lastMs < transitionMs ? [one] : []))
  const ripe = met.filter((one) => nowMs - (since.get(one) ?? nowMs) >= (one.graceMs ?? 0))
  // What was measured before the last action does not show what it brought.
  const due = ripe.filter((one) => (observations.get(one.signal)?.timeMs ?? 0) > (before.acted.get(one) ?? -1))
  const acted = new Map(ripe.map((one) => [one, observations.get(one.signal)?.timeMs ?? nowMs]))
  return { memory: { since, pressedMs, acted }, pressure, due: due.toSorted(byUrgency) }
}

/** @param mustReclaim it was acted upon: then its minimum reclaim counts too */
export function isMet(threshold: Threshold, observations: Observations, mustReclaim: boolean): boolean {
  const seen = observations.get(threshold.signal)
  if (!seen) return false
  const value = amountIn(threshold.value, seen.capacity)
  const more = mustReclaim && threshold.minReclaim ? amountIn(threshold.minReclaim, seen.capacity) : 0n
  return seen.available < value + more
}

/** Memory before disks, for it ends processes at random when it is gone. */
function byUrgency(a: Threshold, b: Threshold): number {
  const rank = ({ signal }: Threshold): number => (resourceOf(signal) === 'memory' ? 0 : 1)
  return rank(a) - rank(b)
}
