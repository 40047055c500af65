// Rules for the security context of containers, and what it shares with the pod's. Pure.
import type { AppArmorProfile, SeccompProfile, SecurityContext } from 'kubernetes-types/core/v1.d.ts'
import { bytesOf } from '../names.ts'
import { type FieldErrors, invalid, required, tooLong } from '../field-error.ts'
import { descendingPath, maybeOneOf, userId } from '../values.ts'
import { windowsOptionsErrors } from '../windows.ts'

/** @param isHostUsers the pod has the host's user namespace */
export function* securityErrors(context: SecurityContext | undefined, path: string, isHostUsers: boolean): FieldErrors {
  if (!context) return
  const { privileged, runAsUser, runAsGroup, procMount, allowPrivilegeEscalation, capabilities } = context
  yield* userId(`${path}.runAsUser`, runAsUser)
  yield* userId(`${path}.runAsGroup`, runAsGroup)
  yield* maybeOneOf(`${path}.procMount`, procMount, ['Default', 'Unmasked'])
  if (procMount === 'Unmasked' && isHostUsers) {
    yield invalid(`${path}.procMount`, procMount, '`hostUsers` must be false to use `Unmasked`')
  }
  yield* seccompErrors(context.seccompProfile, `${path}.seccompProfile`)
  if (allowPrivilegeEscalation === false) {
    const cannot = 'cannot set `allowPrivilegeEscalation` to false and'
    if (privileged) yield invalid(path, context, `${cannot} \`privileged\` to true`)
    if (capabilities?.add?.includes('CAP_SYS_ADMIN')) {
      yield invalid(path, context, `${cannot} \`capabilities.Add\` CAP_SYS_ADMIN`)
    }
  }
  yield* windowsOptionsErrors(context.windowsOptions, `${path}.windowsOptions`)
  yield* appArmorErrors(context.appArmorProfile, `${path}.appArmorProfile`)
}

const profileTypes = ['Localhost', 'RuntimeDefault', 'Unconfined']

export function* seccompErrors(profile: SeccompProfile | undefined, path: string): FieldErrors {
  if (!profile) return
  const { type, localhostProfile } = profile
  if (!type) yield required(`${path}.type`, 'type is required when seccompProfile is set')
  else yield* maybeOneOf(`${path}.type`, type, profileTypes)
  const field = `${path}.localhostProfile`
  if (type !== 'Localhost') {
    if (localhostProfile !== undefined) yield invalid(field, localhostProfile, onlyLocal('seccomp'))
  } else if (localhostProfile === undefined) yield required(field, 'must be set when seccomp type is Localhost')
  else yield* descendingPath(field, localhostProfile)
}

const onlyLocal = (what: string): string => `can only be set when ${what} type is Localhost`
const longestPath = 4095

export function* appArmorErrors(profile: AppArmorProfile | undefined, path: string): FieldErrors {
  if (!profile) return
  const { type, localhostProfile } = profile
  if (!type) return yield required(`${path}.type`, 'type is required when appArmorProfile is set')
  yield* maybeOneOf(`${path}.type`, type, profileTypes)
  const field = `${path}.localhostProfile`
  if (type !== 'Localhost') {
    if (localhostProfile !== undefined) yield invalid(field, localhostProfile, onlyLocal('AppArmor'))
  } else if (!localhostProfile) yield required(field, 'must be set when AppArmor type is Localhost')
  else if (localhostProfile !== localhostProfile.trim()) {
    yield invalid(field, localhostProfile, 'must not be padded with whitespace')
  } else if (bytesOf(localhostProfile) > longestPath) yield tooLong(field, longestPath)
}
