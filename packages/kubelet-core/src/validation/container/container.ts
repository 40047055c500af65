// Rules for the containers of a pod. Pure.
import type { Container, PodSpec } from 'kubernetes-types/core/v1.d.ts'
import { initContainers, type PlacedContainer, regularContainers } from '../containers.ts'
import { duplicate, type FieldErrors, forbidden, invalid, required } from '../field-error.ts'
import { checked, dnsLabel } from '../names.ts'
import { resourcesErrors } from '../resources.ts'
import { oneOf } from '../values.ts'
import { envErrors, envFromErrors } from './environment.ts'
import { lifecycleErrors, probesErrors } from './handlers.ts'
import { deviceErrors, mountErrors } from './mounts.ts'
import { hostPortErrors, portsErrors } from './ports.ts'
import { resizePolicyErrors, restartErrors } from './restart.ts'
import { securityErrors } from './security.ts'

/** All rules for init and regular containers. */
export function* containersErrors(spec: PodSpec): FieldErrors {
  const grace = spec.terminationGracePeriodSeconds
  const regular = regularContainers(spec)
  if (regular.length === 0) yield required('spec.containers')
  const names = new Set<string>()
  for (const placed of regular) {
    yield* containerErrors(placed, spec)
    yield* nameErrors(placed, names)
    yield* lifecycleErrors(placed, grace)
    yield* probesErrors(placed, grace)
    yield* restartErrors(placed)
  }
  yield* hostPortErrors(regular)
  for (const placed of initContainers(spec)) {
    const { container, path } = placed
    yield* containerErrors(placed, spec)
    yield* restartErrors(placed)
    yield* nameErrors(placed, names)
    yield* hostPortErrors([placed])
    if (container.restartPolicy === 'Always') {
      yield* lifecycleErrors(placed, grace)
      yield* probesErrors(placed, grace)
      continue
    }
    for (const name of ['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'] as const) {
      if (!container[name]) continue
      yield forbidden(`${path}.${name}`, 'may not be set for init containers without restartPolicy=Always')
    }
  }
}

/** Init and regular containers share their names. */
function* nameErrors({ container: { name }, path }: PlacedContainer, names: Set<string>): FieldErrors {
  if (names.has(name)) yield duplicate(`${path}.name`, name)
  if (name) names.add(name)
}

function* containerErrors({ container, path }: PlacedContainer, spec: PodSpec): FieldErrors {
  const { name, terminationMessagePolicy, imagePullPolicy } = container
  if (name) yield* checked(`${path}.name`, name, dnsLabel)
  else yield required(`${path}.name`)
  yield* imageErrors(container, path)
  yield* oneOf(`${path}.terminationMessagePolicy`, terminationMessagePolicy, ['File', 'FallbackToLogsOnError'])
  yield* portsErrors(container.ports ?? [], `${path}.ports`, spec.hostNetwork === true)
  yield* envErrors(container.env ?? [], `${path}.env`, spec.volumes ?? [])
  yield* envFromErrors(container.envFrom ?? [], `${path}.envFrom`)
  yield* mountErrors(container, path, spec.volumes ?? [])
  yield* deviceErrors(container, path, spec.volumes ?? [])
  yield* oneOf(`${path}.imagePullPolicy`, imagePullPolicy, ['Always', 'IfNotPresent', 'Never'])
  yield* resourcesErrors(container.resources ?? {}, `${path}.resources`)
  yield* resizePolicyErrors(container, path, spec.restartPolicy)
  yield* securityErrors(container.securityContext, `${path}.securityContext`, spec.hostUsers !== false)
}

function* imageErrors({ image = '' }: Container, path: string): FieldErrors {
  if (!image) yield required(`${path}.image`)
  if (image !== image.trim()) yield invalid(`${path}.image`, image, 'must not have leading or trailing whitespace')
}
