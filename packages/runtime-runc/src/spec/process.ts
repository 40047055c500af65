// What is run: arguments, environment, working directory, OOM score, AppArmor profile.
import { SecurityProfile_ProfileType as ProfileType } from '@nodelet/cri-api'
import type { ContainerConfig, LinuxContainerSecurityContext } from '@nodelet/cri-api'
import { containerCapabilities } from '../capabilities.ts'
import { SpecError } from './errors.ts'
import type { HostFacts, ImageConfig } from './facts.ts'
import type { OciProcess } from './oci.ts'
import type { ResolvedUser } from './users.ts'

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Builds `process` of the spec. */
export function buildProcess(
  config: ContainerConfig,
  image: ImageConfig,
  hostname: string,
  user: ResolvedUser,
  host: HostFacts,
): OciProcess {
  const security = config.linux?.securityContext
  const apparmorProfile = apparmor(security, host)
  return {
    terminal: config.tty,
    user: { ...user },
    args: containerArgs(config, image),
    env: containerEnv(config, image, hostname),
    cwd: workingDirectory(config, image),
    capabilities: containerCapabilities(security?.capabilities, security?.privileged ?? false, host.capabilities),
    noNewPrivileges: security?.noNewPrivs ?? false,
    oomScoreAdj: clampOomScore(Number(config.linux?.resources?.oomScoreAdj ?? 0n), host),
    ...(apparmorProfile ? { apparmorProfile } : {}),
  }
}

/**
 * A command replaces the image's entrypoint and arguments; arguments alone replace only its arguments.
 *
 * @throws SpecError when nothing says what to run.
 */
export function containerArgs(config: Pick<ContainerConfig, 'command' | 'args'>, image: ImageConfig): string[] {
  const entrypoint = image.Entrypoint?.length === 1 && image.Entrypoint[0] === '' ? [] : (image.Entrypoint ?? [])
  const rest = config.args.length > 0 || config.command.length > 0 ? config.args : (image.Cmd ?? [])
  const args = [...(config.command.length > 0 ? config.command : entrypoint), ...rest]
  if (args.length === 0) {
    throw new SpecError('no command specified: neither the container nor its image says what to run; set command')
  }
  return args
}

/** Later values win, a key stays where it was first. Bytes that are no UTF-8 become U+FFFD: config.json is JSON. */
export function containerEnv(
  config: Pick<ContainerConfig, 'envs' | 'tty'>,
  image: ImageConfig,
  hostname: string,
): string[] {
  const env = new Map<string, string>([['PATH', DEFAULT_PATH]])
  if (config.tty) env.set('TERM', 'xterm')
  env.set('HOSTNAME', hostname)
  for (const entry of image.Env ?? []) {
    const at = entry.indexOf('=')
    env.set(at < 0 ? entry : entry.slice(0, at), at < 0 ? '' : entry.slice(at + 1))
  }
  for (const { key, value } of config.envs) env.set(key, Buffer.from(value).toString('utf8'))
  return [...env].map(([key, value]) => `${key}=${value}`)
}

function workingDirectory(config: ContainerConfig, image: ImageConfig): string {
  const cwd = config.workingDir || image.WorkingDir || '/'
  if (!cwd.startsWith('/')) throw new SpecError(`working directory "${cwd}" is not absolute: start it with /`)
  return cwd
}

/** Without the right to lower the score, runc dies on a lower one: then ours is the lowest. */
export function clampOomScore(asked: number, host: Pick<HostFacts, 'oomScoreAdj' | 'canLowerOomScore'>): number {
  return host.canLowerOomScore ? asked : Math.max(asked, host.oomScoreAdj)
}

function apparmor(security: LinuxContainerSecurityContext | undefined, host: HostFacts): string | undefined {
  const { type, ref } = askedProfile(security)
  if (type === undefined || type === ProfileType.Unconfined) return undefined
  if (!host.apparmorProfiles) {
    throw new SpecError('apparmor is not supported: this kernel has none; leave the profile out or use Unconfined')
  }
  if (type === ProfileType.RuntimeDefault) {
    if (security?.privileged) return undefined
    throw new SpecError('no default apparmor profile is provided: use Localhost with a loaded profile, or Unconfined')
  }
  if (!host.apparmorProfiles.includes(ref)) {
    throw new SpecError(`apparmor profile not found ${ref}: load it with apparmor_parser on this node`)
  }
  return ref
}

function askedProfile(security: LinuxContainerSecurityContext | undefined): { type?: ProfileType; ref: string } {
  const strip = (text: string): string => text.replace(/^localhost\//, '')
  if (security?.apparmor) return { type: security.apparmor.profileType, ref: strip(security.apparmor.localhostRef) }
  const text = security?.apparmorProfile ?? ''
  if (text === '') return { ref: '' }
  if (text === 'unconfined') return { type: ProfileType.Unconfined, ref: '' }
  if (text === 'runtime/default') return { type: ProfileType.RuntimeDefault, ref: '' }
  if (text.startsWith('localhost/')) return { type: ProfileType.Localhost, ref: strip(text) }
  throw new SpecError(`apparmor profile "${text}" is unknown: use runtime/default, unconfined or localhost/NAME`)
}
