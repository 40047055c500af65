// Rules for tolerations. Pure.
import type { Toleration } from 'kubernetes-types/core/v1.d.ts'
import { type FieldErrors, invalid, unsupported } from '../field-error.ts'
import { checked, labelValue, qualifiedName } from '../names.ts'
import { maybeOneOf } from '../values.ts'

export function* tolerationsErrors(tolerations: readonly Toleration[] = []): FieldErrors {
  for (const [index, toleration] of tolerations.entries()) {
    const at = `spec.tolerations[${index}]`
    const { key, operator = '', effect = '', tolerationSeconds } = toleration
    if (key) yield* checked(`${at}.key`, key, qualifiedName)
    else if (operator !== 'Exists') {
      const detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
      yield invalid(`${at}.operator`, operator, detail)
    }
    if (tolerationSeconds !== undefined && effect !== 'NoExecute') {
      yield invalid(`${at}.effect`, effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
    }
    yield* valueErrors(toleration, at)
    if (effect) yield* maybeOneOf(`${at}.effect`, effect, ['NoSchedule', 'PreferNoSchedule', 'NoExecute'])
  }
}

function* valueErrors({ operator, value = '' }: Toleration, at: string): FieldErrors {
  switch (operator || 'Equal') {
    case 'Equal': {
      const details = labelValue(value)
      if (details.length > 0) yield invalid(`${at}.value`, value, details.join(';'))
      break
    }
    case 'Exists':
      if (value) yield invalid(`${at}.value`, value, "value must be empty when `operator` is 'Exists'")
      break
    case 'Lt':
    case 'Gt':
      if (!/^(0|-?[1-9]\d*)$/.test(value)) {
        yield invalid(
          `${at}.value`,
          value,
          value ? 'must be a valid decimal integer in canonical form' : 'must be non-empty',
        )
      }
      break
    default:
      yield unsupported(`${at}.operator`, operator, ['Equal', 'Exists'])
  }
}
