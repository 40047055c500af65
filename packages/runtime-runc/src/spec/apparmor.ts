// The AppArmor profile of a container. Pure.
import { SecurityProfile_ProfileType as ProfileType } from '@nodelet/cri-api'
import type { LinuxContainerSecurityContext } from '@nodelet/cri-api'
import { SpecError } from './errors.ts'
import type { ContainerFacts, HostFacts } from './facts.ts'
import { isProfileType } from './seccomp.ts'

const PREFIX = 'localhost/'

/**
 * The name of the profile; undefined is none.
 *
 * @throws SpecError when one is asked for that the kernel does not have.
 */
export function buildApparmor(
  security: LinuxContainerSecurityContext | undefined,
  { apparmorProfiles = [] }: Pick<ContainerFacts, 'apparmorProfiles'>,
  host: Pick<HostFacts, 'apparmor' | 'apparmorDefault'>,
): string | undefined {
  const { type, ref } = askedApparmor(security)
  if (type === ProfileType.Unconfined) return undefined
  if (!host.apparmor) {
    if (type === undefined) return undefined
    throw new SpecError('apparmor is not supported: this kernel has none; leave the profile out or use Unconfined')
  }
  if (type === ProfileType.Localhost) {
    if (apparmorProfiles.includes(ref)) return ref
    throw new SpecError(`apparmor profile not found ${ref}: load it with apparmor_parser on this node`)
  }
  if (security?.privileged) return undefined
  if (type === undefined || host.apparmorDefault !== undefined) return host.apparmorDefault
  throw new SpecError('the default apparmor profile is not loaded: install apparmor_parser and start again')
}

/**
 * Which profile is asked for, by message or by the older string; no type when none is.
 *
 * @throws SpecError for an unknown one.
 */
export function askedApparmor(security: LinuxContainerSecurityContext | undefined): {
  type?: ProfileType
  ref: string
} {
  if (security?.apparmor) {
    const { profileType: type, localhostRef } = security.apparmor
    if (!isProfileType(type)) throw new SpecError(`apparmor profile type ${type} is unknown: use RuntimeDefault`)
    return { type, ref: withoutPrefix(localhostRef) }
  }
  const text = security?.apparmorProfile ?? ''
  if (text === '') return { ref: '' }
  if (text === 'unconfined') return { type: ProfileType.Unconfined, ref: '' }
  if (text === 'runtime/default') return { type: ProfileType.RuntimeDefault, ref: '' }
  if (text.startsWith(PREFIX)) return { type: ProfileType.Localhost, ref: withoutPrefix(text) }
  throw new SpecError(`apparmor profile "${text}" is unknown: use runtime/default, unconfined or localhost/NAME`)
}

const withoutPrefix = (text: string): string => (text.startsWith(PREFIX) ? text.slice(PREFIX.length) : text)
