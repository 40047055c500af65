// Rules for `topologySpreadConstraints`. Pure.
import type { TopologySpreadConstraint } from 'kubernetes-types/core/v1.d.ts'
import { duplicate, type FieldErrors, invalid, required } from '../field-error.ts'
import { maybeOneOf } from '../values.ts'
import { labelKeysErrors } from './affinity.ts'
import { labelSelectorErrors } from './selectors.ts'

const path = 'spec.topologySpreadConstraints'

export function* spreadErrors(constraints: readonly Partial<TopologySpreadConstraint>[] = []): FieldErrors {
  const seen = new Set<string>()
  for (const [index, constraint] of constraints.entries()) {
    const at = `${path}[${index}]`
    const { maxSkew = 0, topologyKey, whenUnsatisfiable = '', minDomains, labelSelector } = constraint
    yield* positive(`${at}.maxSkew`, maxSkew)
    if (!topologyKey) yield required(`${at}.topologyKey`, 'can not be empty')
    yield* maybeOneOf(`${at}.whenUnsatisfiable`, whenUnsatisfiable, ['DoNotSchedule', 'ScheduleAnyway'])
    const pair = `{${topologyKey}, ${whenUnsatisfiable}}`
    if (seen.has(pair)) yield duplicate(`${at}.{topologyKey, whenUnsatisfiable}`, pair)
    seen.add(pair)
    if (minDomains !== undefined) {
      yield* positive(`${at}.minDomains`, minDomains)
      if (whenUnsatisfiable !== 'DoNotSchedule') {
        const detail = `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${whenUnsatisfiable}`
        yield invalid(`${at}.minDomains`, minDomains, detail)
      }
    }
    yield* maybeOneOf(`${at}.nodeAffinityPolicy`, constraint.nodeAffinityPolicy, ['Honor', 'Ignore'])
    yield* maybeOneOf(`${at}.nodeTaintsPolicy`, constraint.nodeTaintsPolicy, ['Honor', 'Ignore'])
    yield* labelKeysErrors(constraint.matchLabelKeys, labelSelector, `${at}.matchLabelKeys`)
    yield* labelSelectorErrors(labelSelector, `${at}.labelSelector`)
  }
}

function* positive(field: string, value: number): FieldErrors {
  if (value <= 0) yield invalid(field, value, 'must be greater than zero')
}
