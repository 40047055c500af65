// What is mounted in the container, in the order in which it is mounted.
import { posix } from 'node:path'
import { NamespaceMode } from '@nodelet/cri-api'
import type { ContainerConfig } from '@nodelet/cri-api'
import { bindMount, rootfsPropagation } from './binds.ts'
import type { ContainerFacts, HandlerFacts, HostFacts, SandboxFacts } from './facts.ts'
import type { OciMount } from './oci.ts'
import { hostId } from './user-namespace.ts'

/** Whose group a terminal is. */
const TTY_GROUP = 5

/** Only who has rights over the network may mount it anew: a user namespace in the node's network has none. */
const hostSysfs: OciMount = {
  destination: '/sys',
  type: 'bind',
  source: '/sys',
  options: ['rbind', 'rprivate', 'nosuid', 'noexec', 'nodev', 'rro'],
}

/** The mounts, and the propagation of the root that they need. */
export interface MountPlan {
  mounts: OciMount[]
  rootfsPropagation?: string
}

/** What the mounts depend on. */
export interface MountFacts {
  sandbox: SandboxFacts
  container: Pick<ContainerFacts, 'sources' | 'imageVolumes' | 'imageMounts' | 'idMapped'>
  host: Pick<HostFacts, 'cgroupVersion' | 'cgroupOptions'>
  handler?: Pick<HandlerFacts, 'features' | 'cgroupWritable'> | undefined
}

/**
 * Defaults, the sandbox's files, the image's volumes and the container's mounts; a mount of the container replaces any
 * other with its destination. Parents come before what is mounted in them.
 *
 * @throws SpecError for a mount that cannot be made as asked.
 */
export function buildMounts(config: ContainerConfig, { sandbox, container, host, handler }: MountFacts): MountPlan {
  const security = config.linux?.securityContext
  const asked = config.mounts.map((mount) => bindMount(mount, container, handler?.features))
  const taken = new Set(asked.map((mount) => mount.destination))
  const free = (mount: OciMount): boolean =>
    !taken.has(mount.destination) && !(taken.has('/dev') && mount.destination.startsWith('/dev/'))
  const hostIpc = security?.namespaceOptions?.ipc === NamespaceMode.NODE || sandbox.ipcPath === undefined
  const own = [
    ...defaultMounts(security?.privileged ?? false, { sandbox, host, handler }),
    ...sandboxMounts(sandbox, security?.readonlyRootfs ?? false, hostIpc),
    ...Object.entries(container.imageVolumes).map(([path, source]) => bind(posix.resolve('/', path), source, 'rw')),
  ]
  const mounts = [...own.filter(free), ...asked].toSorted(byDepth)
  const propagation = rootfsPropagation(config.mounts)
  return { mounts, ...(propagation ? { rootfsPropagation: propagation } : {}) }
}

function defaultMounts(
  privileged: boolean,
  { sandbox: { userNamespace: user, networkPath }, host, handler }: Omit<MountFacts, 'container'>,
): OciMount[] {
  const access = privileged ? 'rw' : 'ro'
  const cgroupAccess = privileged || handler?.cgroupWritable ? 'rw' : 'ro'
  const cgroup = host.cgroupVersion === 2 && privileged ? host.cgroupOptions : []
  const ttys = user && hostId(user.gids, TTY_GROUP) === undefined ? [] : [`gid=${TTY_GROUP}`]
  return [
    special('/proc', 'proc', 'nosuid', 'noexec', 'nodev'),
    special('/dev', 'tmpfs', 'nosuid', 'strictatime', 'mode=755', 'size=65536k'),
    special('/dev/pts', 'devpts', 'nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', ...ttys),
    special('/dev/mqueue', 'mqueue', 'nosuid', 'noexec', 'nodev'),
    user && networkPath === undefined ? hostSysfs : special('/sys', 'sysfs', 'nosuid', 'noexec', 'nodev', access),
    special('/sys/fs/cgroup', 'cgroup', 'nosuid', 'noexec', 'nodev', 'relatime', cgroupAccess, ...cgroup),
  ]
}

function sandboxMounts(sandbox: SandboxFacts, readonly: boolean, hostIpc: boolean): OciMount[] {
  const access = readonly ? 'ro' : 'rw'
  const shm = hostIpc ? '/dev/shm' : sandbox.shmPath
  const files: [string, string | undefined, string][] = [
    ['/etc/hostname', sandbox.hostnameFile, access],
    ['/etc/hosts', sandbox.hostsFile, access],
    ['/etc/resolv.conf', sandbox.resolvConfFile, access],
    ['/dev/shm', shm, 'rw'],
  ]
  return files.flatMap(([path, source, mode]) => (source ? [bind(path, source, mode)] : []))
}

function special(destination: string, type: string, ...options: string[]): OciMount {
  return { destination, type, source: type, options }
}

function bind(destination: string, source: string, access: string): OciMount {
  return { destination, type: 'bind', source, options: ['rbind', 'rprivate', access] }
}

/** Parents before what is mounted in them; sorts are stable. */
export function byDepth(a: OciMount, b: OciMount): number {
  return depth(a.destination) - depth(b.destination)
}

function depth(path: string): number {
  return path.split('/').filter(Boolean).length
}
