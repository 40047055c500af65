// The system calls that a container may make.
import { SecurityProfile_ProfileType as ProfileType } from '@nodelet/cri-api'
import type { LinuxContainerSecurityContext } from '@nodelet/cri-api'
import { SpecError } from './errors.ts'
import type { ContainerFacts, HostFacts } from './facts.ts'
import type { OciSeccomp, OciSyscallRule } from './oci.ts'
import profile from './seccomp-default.json' with { type: 'json' }

const ENOSYS = 38

/**
 * The filter that the security context asks for; undefined is none.
 *
 * @throws SpecError when the kernel has no seccomp, or the profile is unknown or missing.
 */
export function buildSeccomp(
  security: LinuxContainerSecurityContext | undefined,
  bounding: readonly string[],
  facts: Pick<ContainerFacts, 'localhostSeccomp'>,
  host: Pick<HostFacts, 'seccomp' | 'arch' | 'kernel'>,
): OciSeccomp | undefined {
  const { type, ref } = askedSeccomp(security)
  if (type === ProfileType.Unconfined) return undefined
  if (!host.seccomp) throw new SpecError('seccomp is not supported: this kernel has none; use Unconfined')
  if (type === ProfileType.RuntimeDefault) return defaultSeccomp(bounding, host)
  if (!facts.localhostSeccomp) throw new SpecError(`seccomp profile ${ref} is missing: put the file on this node`)
  return facts.localhostSeccomp
}

export const isProfileType = (type: number): boolean =>
  type === ProfileType.RuntimeDefault || type === ProfileType.Unconfined || type === ProfileType.Localhost

/**
 * Which profile is asked for, by message or by the older string; none is Unconfined, and so is all for privileged ones.
 *
 * @throws SpecError for an unknown one, or a file that the type has no use for.
 */
export function askedSeccomp(security: LinuxContainerSecurityContext | undefined): { type: ProfileType; ref: string } {
  if (security?.privileged) return { type: ProfileType.Unconfined, ref: '' }
  if (security?.seccomp) {
    const { profileType: type, localhostRef: ref } = security.seccomp
    if (!isProfileType(type)) throw new SpecError(`seccomp profile type ${type} is unknown: use RuntimeDefault`)
    if (ref && type !== ProfileType.Localhost) {
      throw new SpecError(`seccomp localhost_ref ${ref} is set but the type is not Localhost: leave one out`)
    }
    return { type, ref }
  }
  const text = security?.seccompProfilePath ?? ''
  if (text === '' || text === 'unconfined') return { type: ProfileType.Unconfined, ref: '' }
  if (text === 'runtime/default' || text === 'docker/default') return { type: ProfileType.RuntimeDefault, ref: '' }
  if (text.startsWith('localhost/')) return { type: ProfileType.Localhost, ref: text.slice('localhost/'.length) }
  throw new SpecError(`seccomp profile "${text}" is unknown: use runtime/default, unconfined or localhost/PATH`)
}

/** The default profile for a bounding set, an architecture (Go's name) and a kernel. */
export function defaultSeccomp(bounding: readonly string[], host: Pick<HostFacts, 'arch' | 'kernel'>): OciSeccomp {
  const architectures = lookup<string[]>(profile.architectures, host.arch)
  const syscalls: OciSyscallRule[] = [
    allow(profile.allow),
    ...profile.argRules.map(({ names, action, args }) => ({ names, action, args })),
  ]
  for (const [version, names] of Object.entries(profile.allowMinKernel)) {
    if (atLeast(host.kernel, version)) syscalls.push(allow(names))
  }
  const byArch = lookup<string[]>(profile.allowArch, host.arch)
  if (byArch) syscalls.push(allow(byArch))
  for (const name of bounding) {
    const names = lookup<string[]>(profile.allowCap, name)
    if (names) syscalls.push(allow(names))
  }
  if (!bounding.includes('CAP_SYS_ADMIN')) syscalls.push(...cloneRules(host.arch))
  return { defaultAction: profile.defaultAction, ...(architectures ? { architectures } : {}), syscalls }
}

/** Threads and processes yes, namespaces no. The flags are clone's first argument but on s390. */
function cloneRules(arch: string): OciSyscallRule[] {
  const index = arch.startsWith('s390') ? 1 : 0
  const rule = profile.withoutSysAdmin.find((entry) => entry.args?.[0]?.index === index)
  if (!rule?.args) throw new SpecError('the default seccomp profile has no rule for clone: the package is damaged')
  return [
    { names: rule.names, action: rule.action, args: rule.args },
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
  ]
}

function allow(names: string[]): OciSyscallRule {
  return { names, action: 'SCMP_ACT_ALLOW' }
}

function atLeast([major, minor]: readonly [number, number], version: string): boolean {
  const [wantMajor = 0, wantMinor = 0] = version.split('.').map(Number)
  return major > wantMajor || (major === wantMajor && minor >= wantMinor)
}

function lookup<T>(table: object, key: string): T | undefined {
  return (table as Record<string, T>)[key]
}
