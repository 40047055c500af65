// What is run: arguments, environment, working directory, OOM score.
import type { ContainerConfig } from '@nodelet/cri-api'
import { containerCapabilities } from '../capabilities.ts'
import { buildApparmor } from './apparmor.ts'
import { SpecError } from './errors.ts'
import type { ContainerFacts, HostFacts, ImageConfig, SandboxFacts } from './facts.ts'
import type { OciProcess } from './oci.ts'

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** What a process depends on. */
export interface ProcessFacts {
  sandbox: Pick<SandboxFacts, 'hostname'>
  container: Pick<ContainerFacts, 'user' | 'apparmorProfiles'>
  host: HostFacts
}

/** Builds `process` of the spec. */
export function buildProcess(
  config: ContainerConfig,
  image: ImageConfig,
  { sandbox: { hostname }, container, host }: ProcessFacts,
  selinuxLabel?: string,
): OciProcess {
  const security = config.linux?.securityContext
  const apparmorProfile = buildApparmor(security, container, host)
  return {
    terminal: config.tty,
    user: { ...container.user },
    args: containerArgs(config, image),
    env: containerEnv(config, image, hostname),
    cwd: workingDirectory(config, image),
    capabilities: containerCapabilities(security?.capabilities, security?.privileged ?? false, host.capabilities),
    noNewPrivileges: security?.noNewPrivs ?? false,
    oomScoreAdj: clampOomScore(Number(config.linux?.resources?.oomScoreAdj ?? 0n), host),
    ...(apparmorProfile ? { apparmorProfile } : {}),
    ...(selinuxLabel === undefined ? {} : { selinuxLabel }),
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
