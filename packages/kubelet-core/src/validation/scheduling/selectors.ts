// Rules for selectors of labels and of nodes. Pure.
import type { NodeSelectorRequirement, NodeSelectorTerm } from 'kubernetes-types/core/v1.d.ts'
import type { LabelSelector } from 'kubernetes-types/meta/v1.d.ts'
import { type FieldErrors, forbidden, invalid, required } from '../field-error.ts'
import { labelsErrors } from '../metadata.ts'
import { checked, dnsSubdomain, labelValue, qualifiedName } from '../names.ts'

export function* labelSelectorErrors(selector: LabelSelector | undefined, path: string): FieldErrors {
  yield* labelsErrors(selector?.matchLabels, `${path}.matchLabels`)
  for (const [index, requirement] of (selector?.matchExpressions ?? []).entries()) {
    const at = `${path}.matchExpressions[${index}]`
    yield* requirementErrors(requirement, at)
    yield* valuesErrors(requirement.values, at)
  }
}

interface Requirement {
  key: string
  operator: string
  values?: string[]
}

function* requirementErrors({ key, operator, values = [] }: Requirement, path: string, single = false): FieldErrors {
  const field = `${path}.values`
  if (operator === 'In' || operator === 'NotIn') {
    if (values.length === 0) yield required(field, "must be specified when `operator` is 'In' or 'NotIn'")
  } else if (operator === 'Exists' || operator === 'DoesNotExist') {
    if (values.length > 0) yield forbidden(field, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
  } else if (single && (operator === 'Gt' || operator === 'Lt')) {
    if (values.length !== 1) yield required(field, "must be specified single value when `operator` is 'Lt' or 'Gt'")
  } else yield invalid(`${path}.operator`, operator ?? '', 'not a valid selector operator')
  yield* checked(`${path}.key`, key ?? '', qualifiedName)
}

function* valuesErrors(values: readonly string[] = [], path: string): FieldErrors {
  for (const [index, value] of values.entries()) yield* checked(`${path}.values[${index}]`, value, labelValue)
}

/** @param isRequired values must be possible too; a mere preference may ask for what no node can have */
export function* nodeTermErrors(term: NodeSelectorTerm = {}, path: string, isRequired: boolean): FieldErrors {
  for (const [index, requirement] of (term.matchExpressions ?? []).entries()) {
    const at = `${path}.matchExpressions[${index}]`
    yield* requirementErrors(requirement, at, true)
    if (isRequired) yield* valuesErrors(requirement.values, at)
  }
  for (const [index, requirement] of (term.matchFields ?? []).entries()) {
    yield* fieldErrors(requirement, `${path}.matchFields[${index}]`)
  }
}

function* fieldErrors({ key, operator, values = [] }: NodeSelectorRequirement, path: string): FieldErrors {
  if (operator !== 'In' && operator !== 'NotIn') {
    yield invalid(`${path}.operator`, operator ?? '', 'not a valid selector operator')
  } else if (values.length !== 1) {
    const detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
    yield required(`${path}.values`, detail)
  }
  if (key !== 'metadata.name') return yield invalid(`${path}.key`, key ?? '', 'not a valid field selector key')
  for (const [index, value] of values.entries()) yield* checked(`${path}.values[${index}]`, value, dnsSubdomain)
}
