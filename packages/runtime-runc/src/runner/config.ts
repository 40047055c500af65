// What a runner is asked, as CRI says it.
import { ContainerConfig, ImageSpec, MountPropagation, NamespaceMode, PodSandboxConfig } from '@nodelet/cri-api'
import type { DeepPartial, LinuxContainerSecurityContext, NamespaceOption } from '@nodelet/cri-api'

/** How a command runs. */
export interface RunOptions {
  /** Added to the image's. */
  env?: Readonly<Record<string, string>>
  /** Default: the image's. */
  cwd?: string
  /** A name, `UID` or `UID:GID`. Default: the image's. */
  user?: string
  /** The machine's network, or one of its own, for which the runner needs `cni`. Default: `host`. */
  network?: 'host' | 'pod'
  /** Files and folders of the machine; read and write unless `readonly`. */
  mounts?: readonly { source: string; target: string; readonly?: boolean }[]
  /** The runtime handler. Default: the runtime's own default. */
  handler?: string
  /** At most so many bytes of memory. */
  memory?: number
  /** At most so many processors, for instance 0.5. */
  cpus?: number
}

/** Marks the pods that are a runner's. */
export const runnerLabel = 'dev.nodelet/runner'
export const logName = 'main.log'

const cpuPeriod = 100_000n

const namespacesOf = ({ network = 'host' }: RunOptions): NamespaceOption => ({
  network: network === 'host' ? NamespaceMode.NODE : NamespaceMode.POD,
  pid: NamespaceMode.CONTAINER,
  ipc: NamespaceMode.POD,
  targetId: '',
  usernsOptions: undefined,
})

export function sandboxConfigOf(name: string, logDirectory: string, options: RunOptions): PodSandboxConfig {
  return PodSandboxConfig.fromPartial({
    metadata: { name, namespace: 'runner', uid: name },
    hostname: name,
    logDirectory,
    labels: { [runnerLabel]: name },
    linux: { securityContext: { namespaceOptions: namespacesOf(options) } },
  })
}

export function containerConfigOf(
  image: string,
  command: readonly string[] | undefined,
  options: RunOptions,
): ContainerConfig {
  const { env = {}, cwd, mounts = [], memory, cpus } = options
  return ContainerConfig.fromPartial({
    metadata: { name: 'main' },
    image: ImageSpec.fromPartial({ image }),
    command: [...(command ?? [])],
    workingDir: cwd ?? '',
    envs: Object.entries(env).map(([key, value]) => ({ key, value: Buffer.from(value) })),
    mounts: mounts.map(({ source, target, readonly = false }) => ({
      hostPath: source,
      containerPath: target,
      readonly,
      propagation: MountPropagation.PROPAGATION_PRIVATE,
    })),
    logPath: logName,
    linux: {
      resources: {
        ...(memory === undefined ? {} : { memoryLimitInBytes: BigInt(Math.floor(memory)) }),
        ...(cpus === undefined
          ? {}
          : { cpuPeriod, cpuQuota: BigInt(Math.max(1000, Math.round(cpus * Number(cpuPeriod)))) }),
      },
      securityContext: { ...userOf(options.user), namespaceOptions: namespacesOf(options) },
    },
  })
}

function userOf(user: string | undefined): DeepPartial<LinuxContainerSecurityContext> {
  if (user === undefined) return {}
  const numbers = /^(\d+)(?::(\d+))?$/.exec(user)
  if (!numbers) return { runAsUsername: user }
  const [, uid = '0', gid] = numbers
  return {
    runAsUser: { value: BigInt(uid) },
    ...(gid === undefined ? {} : { runAsGroup: { value: BigInt(gid) } }),
  }
}
