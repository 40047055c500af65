// Rules for affinities. Pure.
import type { Affinity, NodeAffinity, PodAffinity, PodAffinityTerm } from 'kubernetes-types/core/v1.d.ts'
import type { LabelSelector } from 'kubernetes-types/meta/v1.d.ts'
import { type FieldErrors, forbidden, invalid, required } from '../field-error.ts'
import { checked, dnsLabel, qualifiedName } from '../names.ts'
import { labelSelectorErrors, nodeTermErrors } from './selectors.ts'

export function* affinityErrors({ nodeAffinity, podAffinity, podAntiAffinity }: Affinity = {}): FieldErrors {
  const path = 'spec.affinity'
  if (nodeAffinity) yield* nodeAffinityErrors(nodeAffinity, `${path}.nodeAffinity`)
  if (podAffinity) yield* podAffinityErrors(podAffinity, `${path}.podAffinity`)
  if (podAntiAffinity) yield* podAffinityErrors(podAntiAffinity, `${path}.podAntiAffinity`)
}

const hard = 'requiredDuringSchedulingIgnoredDuringExecution'
const soft = 'preferredDuringSchedulingIgnoredDuringExecution'

function* nodeAffinityErrors(affinity: NodeAffinity, path: string): FieldErrors {
  const terms = affinity[hard] && (affinity[hard].nodeSelectorTerms ?? [])
  const at = `${path}.${hard}.nodeSelectorTerms`
  if (terms?.length === 0) yield required(at, 'must have at least one node selector term')
  for (const [index, term] of (terms ?? []).entries()) yield* nodeTermErrors(term, `${at}[${index}]`, true)
  for (const [index, { weight, preference }] of (affinity[soft] ?? []).entries()) {
    yield* weightErrors(weight, `${path}.${soft}[${index}].weight`)
    yield* nodeTermErrors(preference, `${path}.${soft}[${index}].preference`, false)
  }
}

function* podAffinityErrors(affinity: PodAffinity, path: string): FieldErrors {
  for (const [index, term] of (affinity[hard] ?? []).entries()) yield* podTermErrors(term, `${path}.${hard}[${index}]`)
  for (const [index, { weight, podAffinityTerm }] of (affinity[soft] ?? []).entries()) {
    yield* weightErrors(weight, `${path}.${soft}[${index}].weight`)
    yield* podTermErrors(podAffinityTerm, `${path}.${soft}[${index}].podAffinityTerm`)
  }
}

function* weightErrors(weight = 0, field: string): FieldErrors {
  if (weight < 1 || weight > 100) yield invalid(field, weight, 'must be in the range 1-100')
}

function* podTermErrors(term: Partial<PodAffinityTerm> = {}, path: string): FieldErrors {
  const { labelSelector, namespaceSelector, namespaces = [], topologyKey = '' } = term
  yield* labelSelectorErrors(labelSelector, `${path}.labelSelector`)
  yield* labelSelectorErrors(namespaceSelector, `${path}.namespaceSelector`)
  for (const [index, name] of namespaces.entries()) yield* checked(`${path}.namespaces[${index}]`, name, dnsLabel)
  const { matchLabelKeys = [], mismatchLabelKeys = [] } = term
  yield* labelKeysErrors(matchLabelKeys, labelSelector, `${path}.matchLabelKeys`)
  yield* labelKeysErrors(mismatchLabelKeys, labelSelector, `${path}.mismatchLabelKeys`)
  for (const [index, key] of matchLabelKeys.entries()) {
    if (!mismatchLabelKeys.includes(key)) continue
    yield invalid(`${path}.matchLabelKeys[${index}]`, key, 'exists in both matchLabelKeys and mismatchLabelKeys')
  }
  if (!topologyKey) yield required(`${path}.topologyKey`, 'can not be empty')
  else yield* checked(`${path}.topologyKey`, topologyKey, qualifiedName)
}

/** Keys whose values the pod's own labels give. */
export function* labelKeysErrors(
  keys: readonly string[] = [],
  selector: LabelSelector | undefined,
  path: string,
): FieldErrors {
  if (keys.length === 0) return
  if (!selector) return yield forbidden(path, 'must not be specified when labelSelector is not set')
  for (const [index, key] of keys.entries()) yield* checked(`${path}[${index}]`, key, qualifiedName)
}
