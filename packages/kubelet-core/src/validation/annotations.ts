// Rules for annotations that mean something to pods. Pure.
import type { AppArmorProfile, Pod, SeccompProfile } from 'kubernetes-types/core/v1.d.ts'
import { allContainers } from './containers.ts'
import { type FieldErrors, forbidden, invalid } from './field-error.ts'
import { descendingPath } from './values.ts'

const deletionCost = 'controller.kubernetes.io/pod-deletion-cost'
const seccompOfPod = 'seccomp.security.alpha.kubernetes.io/pod'
const seccompOfContainer = 'container.seccomp.security.alpha.kubernetes.io/'
const appArmorOfContainer = 'container.apparmor.security.beta.kubernetes.io/'

export function* annotationErrors({ metadata, spec }: Pod): FieldErrors {
  const containers = new Set(spec && allContainers(spec).map(({ container }) => container.name))
  for (const [key, value] of Object.entries(metadata?.annotations ?? {})) {
    const field = `metadata.annotations[${key}]`
    if (key === deletionCost && !isInt32(value)) yield invalid(field, value, 'must be a 32bit integer')
    if (key === seccompOfPod || key.startsWith(seccompOfContainer)) yield* seccompErrors(field, value)
    if (!key.startsWith(appArmorOfContainer)) continue
    const container = key.slice(appArmorOfContainer.length)
    if (!containers.has(container)) yield invalid(field, container, 'container not found')
    if (value && !['runtime/default', 'unconfined'].includes(value) && !value.startsWith('localhost/')) {
      yield invalid(field, value, `invalid AppArmor profile name: ${JSON.stringify(value)}`)
    }
  }
}

const isInt32 = (text: string): boolean => /^-?\d{1,10}$/.test(text) && Number(text) === (Number(text) | 0)

function* seccompErrors(field: string, value: string): FieldErrors {
  if (['runtime/default', 'docker/default', 'unconfined'].includes(value)) return
  if (value.startsWith('localhost/')) yield* descendingPath(field, value.slice('localhost/'.length))
  else yield invalid(field, value, 'must be a valid seccomp profile')
}

/** Where a profile is told twice, in an annotation of old and in its field, both must say the same. */
export function* profileErrors({ metadata, spec }: Pod): FieldErrors {
  if (!spec) return
  const annotations = metadata?.annotations ?? {}
  const { seccompProfile, appArmorProfile } = spec.securityContext ?? {}
  yield* matchErrors('seccomp', 'spec.securityContext.seccompProfile', annotations[seccompOfPod], seccompProfile)
  for (const { container, path } of allContainers(spec)) {
    const { name, securityContext: own } = container
    const at = `${path}.securityContext`
    yield* matchErrors('seccomp', `${at}.seccompProfile`, annotations[seccompOfContainer + name], own?.seccompProfile)
    const appArmor = own?.appArmorProfile ?? appArmorProfile
    yield* matchErrors('apparmor', `${at}.appArmorProfile`, annotations[appArmorOfContainer + name], appArmor)
  }
}

const named: Readonly<Record<string, readonly string[]>> = {
  Unconfined: ['unconfined'],
  RuntimeDefault: ['runtime/default', 'docker/default'],
}

function* matchErrors(
  what: 'seccomp' | 'apparmor',
  path: string,
  annotation: string | undefined,
  profile: SeccompProfile | AppArmorProfile | undefined,
): FieldErrors {
  if (annotation === undefined || !profile) return
  const isLocal = profile.type === 'Localhost' && annotation.startsWith('localhost/')
  if (!isLocal && !named[profile.type]?.includes(annotation)) {
    yield forbidden(`${path}.type`, `${what} type in annotation and field must match`)
  } else if (isLocal && annotation !== `localhost/${profile.localhostProfile}`) {
    yield forbidden(`${path}.localhostProfile`, `${what} profile in annotation and field must match`)
  }
}
