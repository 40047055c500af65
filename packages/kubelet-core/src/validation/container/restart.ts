// Rules for restart policies of containers. Pure.
import type { Container } from 'kubernetes-types/core/v1.d.ts'
import type { RestartableContainer } from '../../pod/restart.ts'
import type { PlacedContainer } from '../containers.ts'
import { duplicate, type FieldErrors, invalid, required, tooMany } from '../field-error.ts'
import { maybeOneOf, oneOf } from '../values.ts'

const mostRules = 20
const mostCodes = 255

/** `restartPolicy` and `restartPolicyRules` of a container. */
export function* restartErrors({ container, path }: PlacedContainer): FieldErrors {
  const { restartPolicy, restartPolicyRules: rules = [] }: RestartableContainer = container
  const field = `${path}.restartPolicy`
  if (restartPolicy === undefined && rules.length > 0) {
    yield required(field, 'must specify restartPolicy when restart rules are used')
  }
  yield* maybeOneOf(field, restartPolicy, ['Always', 'Never', 'OnFailure'])
  if (rules.length > mostRules) yield tooMany(`${path}.restartPolicyRules`, rules.length, mostRules)
  for (const [index, { action, exitCodes }] of rules.entries()) {
    const at = `${path}.restartPolicyRules[${index}]`
    yield* maybeOneOf(`${at}.action`, action ?? '', ['Restart', 'RestartAllContainers'])
    if (!exitCodes) {
      yield required(`${at}.exitCodes`, 'must be specified')
      continue
    }
    const { operator, values = [] } = exitCodes
    yield* maybeOneOf(`${at}.exitCodes.operator`, operator ?? '', ['In', 'NotIn'])
    if (values.length > mostCodes) yield tooMany(`${at}.exitCodes.values`, values.length, mostCodes)
  }
}

/** What a resize does to a container. */
export function* resizePolicyErrors(
  { resizePolicy = [], restartPolicy }: Container,
  path: string,
  podPolicy: string | undefined,
): FieldErrors {
  const isInit = path.startsWith('spec.initContainers')
  const seen = new Set<string>()
  for (const [index, policy] of resizePolicy.entries()) {
    const at = `${path}.resizePolicy[${index}]`
    if (seen.has(policy.resourceName)) yield duplicate(at, policy.resourceName)
    seen.add(policy.resourceName)
    yield* oneOf(`${at}.resourceName`, policy.resourceName, ['cpu', 'memory'])
    yield* oneOf(`${at}.restartPolicy`, policy.restartPolicy, ['NotRequired', 'RestartContainer'])
    if (podPolicy === 'Never' && policy.restartPolicy !== 'NotRequired') {
      const detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
      yield invalid(`${at}.restartPolicy`, policy.restartPolicy, detail)
    }
    if (isInit && restartPolicy !== 'Always' && policy.restartPolicy === 'RestartContainer') {
      const detail = "must not be set to 'RestartContainer' for non-sidecar initContainers"
      yield invalid(`${at}.restartPolicy`, policy.restartPolicy, detail)
    }
  }
}
