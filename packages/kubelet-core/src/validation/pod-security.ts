// Rules for the security context of a pod and the namespaces it shares with its host. Pure.
import type { PodSecurityContext, PodSpec } from 'kubernetes-types/core/v1.d.ts'
import { sysctlNamespace } from '../admission/sysctls.ts'
import { allContainers } from './containers.ts'
import { appArmorErrors, seccompErrors } from './container/security.ts'
import { duplicate, type FieldErrors, forbidden, invalid, required } from './field-error.ts'
import { maybeOneOf, userId } from './values.ts'
import { windowsOptionsErrors } from './windows.ts'

/** Newer API servers have it. */
type NewerContext = PodSecurityContext & { supplementalGroupsPolicy?: string; seLinuxChangePolicy?: string }

export function* podSecurityErrors(spec: PodSpec): FieldErrors {
  const path = 'spec.securityContext'
  const context: NewerContext = spec.securityContext ?? {}
  yield* userId(`${path}.fsGroup`, context.fsGroup)
  yield* userId(`${path}.runAsUser`, context.runAsUser)
  yield* userId(`${path}.runAsGroup`, context.runAsGroup)
  for (const [index, group] of (context.supplementalGroups ?? []).entries()) {
    yield* userId(`${path}.supplementalGroups[${index}]`, group)
  }
  if (spec.hostPID && spec.shareProcessNamespace) {
    yield invalid('spec.shareProcessNamespace', true, 'ShareProcessNamespace and HostPID cannot both be enabled')
  }
  yield* sysctlsErrors(spec)
  yield* maybeOneOf(`${path}.fsGroupChangePolicy`, context.fsGroupChangePolicy, ['Always', 'OnRootMismatch'])
  yield* seccompErrors(context.seccompProfile, `${path}.seccompProfile`)
  yield* windowsOptionsErrors(context.windowsOptions, `${path}.windowsOptions`)
  yield* appArmorErrors(context.appArmorProfile, `${path}.appArmorProfile`)
  yield* maybeOneOf(`${path}.supplementalGroupsPolicy`, context.supplementalGroupsPolicy, ['Merge', 'Strict'])
  yield* maybeOneOf(`${path}.seLinuxChangePolicy`, context.seLinuxChangePolicy, ['MountOption', 'Recursive'])
}

const longestSysctl = 253
const segment = '[a-z0-9]([-_a-z0-9]*[a-z0-9])?'
const sysctl = `^(${segment}[\\./])*${segment}$`
const sysctlPattern = new RegExp(sysctl)

function* sysctlsErrors({ securityContext, hostNetwork, hostIPC }: PodSpec): FieldErrors {
  const seen = new Set<string>()
  for (const [index, { name }] of (securityContext?.sysctls ?? []).entries()) {
    const field = `spec.securityContext.sysctls[${index}].name`
    if (!name) {
      yield required(field)
      continue
    }
    if (name.length > longestSysctl || !sysctlPattern.test(name)) {
      yield invalid(field, name, `must have at most ${longestSysctl} characters and match regex ${sysctl}`)
    } else if (seen.has(name)) yield duplicate(field, name)
    seen.add(name)
    const namespace = sysctlNamespace(name)
    if (hostNetwork && namespace === 'net')
      yield invalid(field, name, "may not be specified when 'hostNetwork' is true")
    if (hostIPC && namespace === 'ipc') yield invalid(field, name, "may not be specified when 'hostIPC' is true")
  }
}

/** A user namespace of its own goes with no other namespace of the host, and not with devices. */
export function* hostUsersErrors(spec: PodSpec): FieldErrors {
  if (spec.hostUsers !== false) return
  const detail = 'when `hostUsers` is false'
  for (const name of ['hostNetwork', 'hostPID', 'hostIPC'] as const) {
    if (spec[name]) yield forbidden(`spec.${name}`, detail)
  }
  for (const { container, path } of allContainers(spec)) {
    if (container.volumeDevices?.length) yield forbidden(`${path}.volumeDevices`, detail)
  }
}
