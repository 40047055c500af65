// Rules for what pods of Windows have, and what they have not. Pure.
import type {
  PodSecurityContext,
  PodSpec,
  SecurityContext,
  WindowsSecurityContextOptions,
} from 'kubernetes-types/core/v1.d.ts'
import { allContainers } from './containers.ts'
import { type FieldErrors, forbidden, invalid } from './field-error.ts'
import { bytesOf, checked, dnsSubdomain } from './names.ts'
import { oneOf } from './values.ts'

const mostSpecKiB = 64
const mostDomain = 256
const mostUser = 104

export function* windowsOptionsErrors(options: WindowsSecurityContextOptions | undefined, path: string): FieldErrors {
  const { gmsaCredentialSpecName, gmsaCredentialSpec: spec, runAsUserName } = options ?? {}
  if (gmsaCredentialSpecName !== undefined) {
    yield* checked(`${path}.gmsaCredentialSpecName`, gmsaCredentialSpecName, dnsSubdomain)
  }
  const field = `${path}.gmsaCredentialSpec`
  if (spec === '') yield invalid(field, spec, 'gmsaCredentialSpec cannot be an empty string')
  if (spec !== undefined && bytesOf(spec) > mostSpecKiB * 1024) {
    yield invalid(field, spec, `gmsaCredentialSpec size must be under ${mostSpecKiB} KiB`)
  }
  if (runAsUserName !== undefined) yield* checked(`${path}.runAsUserName`, runAsUserName, userNameDetails)
}

const netBios = /^[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}$/
const dns = /^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$/

/** `USER` or `DOMAIN\USER`. */
function userNameDetails(name: string): string[] {
  if (!name) return ['runAsUserName cannot be an empty string']
  // oxlint-disable-next-line no-control-regex
  if (/[\x00-\x1f\x7f]/.test(name)) return ['runAsUserName cannot contain control characters']
  const parts = name.split('\\')
  if (parts.length > 2) return ['runAsUserName cannot contain more than one backslash']
  const user = parts.at(-1) ?? ''
  const domain = parts.length === 2 ? parts[0] : undefined
  const faults: [boolean, string][] = [
    [(domain?.length ?? 0) >= mostDomain, `Domain length must be under ${mostDomain} characters`],
    [
      domain !== undefined && !netBios.test(domain) && !dns.test(domain),
      "Domain doesn't match the NetBios nor the DNS format",
    ],
    [!user, 'User cannot be empty'],
    [user.length > mostUser, `User length must not be longer than ${mostUser} characters`],
    [/^[. ]+$/.test(user), 'User cannot contain only periods or spaces'],
    [/["/\\:;|=,+*?<>@[\]]/.test(user), 'User cannot contain the following characters: "/\\:;|=,+*?<>@[]'],
  ]
  return faults.flatMap(([is, detail]) => (is ? [`runAsUserName's ${detail}`] : []))
}

/** Containers that are processes of the host: all of a pod or none. */
export function* hostProcessErrors(spec: PodSpec): FieldErrors {
  const ofPod = spec.securityContext?.windowsOptions?.hostProcess
  const containers = allContainers(spec)
  let count = 0
  for (const { container, path } of containers) {
    const own = container.securityContext?.windowsOptions?.hostProcess
    if (ofPod !== undefined && own !== undefined && own !== ofPod) {
      const detail = `pod hostProcess value must be identical if both are specified, was ${ofPod}`
      yield invalid(`${path}.securityContext.windowsOptions.hostProcess`, own, detail)
    }
    if (own ?? ofPod) count += 1
  }
  if (count === 0) return
  if (count < containers.length) {
    const detail = 'If pod contains any hostProcess containers then all containers must be HostProcess containers'
    yield invalid('spec', '', detail)
  }
  if (!spec.hostNetwork) {
    yield invalid('spec.hostNetwork', false, 'hostNetwork must be true if pod contains any hostProcess containers')
  }
}

const notOfWindows = 'cannot be set for a windows pod'
const linuxOfPod: readonly (keyof PodSecurityContext | 'supplementalGroupsPolicy' | 'seLinuxChangePolicy')[] = [
  'appArmorProfile',
  'seLinuxOptions',
  'seccompProfile',
  'fsGroup',
  'fsGroupChangePolicy',
  'sysctls',
  'runAsUser',
  'runAsGroup',
  'supplementalGroups',
  'supplementalGroupsPolicy',
  'seLinuxChangePolicy',
]
const linuxOfContainer: readonly (keyof SecurityContext)[] = [
  'appArmorProfile',
  'seLinuxOptions',
  'seccompProfile',
  'capabilities',
  'readOnlyRootFilesystem',
  'privileged',
  'allowPrivilegeEscalation',
  'procMount',
  'runAsUser',
  'runAsGroup',
]

/** `spec.os`, and what does not go with it. */
export function* osErrors(spec: PodSpec): FieldErrors {
  if (!spec.os) return
  yield* oneOf('spec.os.name', spec.os.name, ['linux', 'windows'])
  const contexts = [
    { context: spec.securityContext, path: 'spec.securityContext', fields: linuxOfPod },
    ...allContainers(spec).map(({ container, path }) => ({
      context: container.securityContext,
      path: `${path}.securityContext`,
      fields: linuxOfContainer,
    })),
  ]
  if (spec.os.name === 'linux') {
    for (const { context, path } of contexts) {
      if (!context?.windowsOptions) continue
      yield forbidden(`${path}.windowsOptions`, 'windows options cannot be set for a linux pod')
    }
  }
  if (spec.os.name !== 'windows') return
  for (const name of ['hostPID', 'hostIPC'] as const) if (spec[name]) yield forbidden(`spec.${name}`, notOfWindows)
  for (const name of ['hostUsers', 'shareProcessNamespace']) {
    if (name in spec) yield forbidden(`spec.${name}`, notOfWindows)
  }
  for (const { context = {}, path, fields } of contexts) {
    for (const name of fields) if (name in context) yield forbidden(`${path}.${name}`, notOfWindows)
  }
}
