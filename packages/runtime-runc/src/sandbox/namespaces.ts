// A sandbox's namespaces: pinned, so that they live without a process.
import { writeFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { hostname as hostName } from 'node:os'
import { join } from 'node:path'
import { NamespaceMode } from '@nodelet/cri-api'
import type { NamespaceOption, PodSandboxConfig } from '@nodelet/cri-api'
import { inNamespace, isNamespacePinned, mount, openNetlink, pinNamespaces, readMountInfo } from '@nodelet/linux'
import { pinOwnedNamespaces, unpinNamespace } from '@nodelet/linux'
import type { NamespaceKind } from '@nodelet/linux'
import { askedIdMappings } from '../spec/user-namespace.ts'
import type { UserNamespaceFacts } from '../spec/user-namespace.ts'
import { sandboxSysctls, setAsPodRoot } from './sysctls.ts'
import type { Sysctl } from './sysctls.ts'

/** Makes the folder a mount that is private and cannot be bound: pins must not live on in containers that bind /run. */
export async function protectPins(folder: string): Promise<void> {
  if ((await readMountInfo()).some(({ mountPoint }) => mountPoint === folder)) return
  mount({ source: folder, target: folder, options: ['bind'] })
  mount({ source: 'none', target: folder, options: ['unbindable'] })
}

export const namespaceOptions = (config: PodSandboxConfig): NamespaceOption | undefined =>
  config.linux?.securityContext?.namespaceOptions

/** Which namespaces a pod has of its own, and the files that hold them. */
export function pinPaths(folder: string, id: string, config: PodSandboxConfig): Partial<Record<NamespaceKind, string>> {
  const options = namespaceOptions(config)
  const path = (kind: NamespaceKind): string => join(folder, `${id}.${kind}`)
  return {
    ...(options?.network === NamespaceMode.NODE ? {} : { net: path('net'), uts: path('uts') }),
    ...(options?.ipc === NamespaceMode.NODE ? {} : { ipc: path('ipc') }),
  }
}

/** The file that holds the pod's user namespace, and its mappings; undefined for a pod in the node's. */
export function podUserNamespace(folder: string, id: string, config: PodSandboxConfig): UserNamespaceFacts | undefined {
  const mappings = askedIdMappings(namespaceOptions(config))
  return mappings && { path: join(folder, `${id}.user`), ...mappings }
}

/** The name that the pod's containers see: the node's own when none is asked for or the network is the node's. */
export function podHostname(config: PodSandboxConfig): string {
  if (namespaceOptions(config)?.network === NamespaceMode.NODE) return hostName()
  return config.hostname || hostName()
}

/** Makes and pins the namespaces, sets the sysctls and brings the loopback link up. */
export async function makeNamespaces(
  paths: Partial<Record<NamespaceKind, string>>,
  config: PodSandboxConfig,
  user: UserNamespaceFacts | undefined,
): Promise<void> {
  const sysctls = sandboxSysctls(config.linux?.sysctls ?? {}, paths, user)
  const hostname = podHostname(config)
  if (user) await pinOwnedNamespaces({ mappings: user, user: user.path, paths, hostname })
  else if (Object.keys(paths).length > 0) pinNamespaces({ paths, hostname })
  if (user) await setAsPodRoot(sysctls, paths, user)
  else setAsRoot(sysctls, paths)
  if (paths.net === undefined) return
  using netlink = openNetlink({ netns: paths.net })
  await netlink.links.set('lo', { up: true })
}

function setAsRoot(sysctls: readonly Sysctl[], paths: Partial<Record<NamespaceKind, string>>): void {
  for (const { kind, file, value, name } of sysctls) {
    const path = paths[kind]
    if (path === undefined) continue
    try {
      inNamespace(kind, path, () => writeFileSync(file, value))
    } catch (cause) {
      const { message } = cause as Error
      throw new Error(`setting sysctl ${name}=${value} in the sandbox: ${message}`, { cause })
    }
  }
}

/** Lets the namespaces go; fine when there are none. */
export function dropNamespaces(folder: string, id: string): void {
  for (const kind of ['net', 'ipc', 'uts', 'user']) unpinNamespace(join(folder, `${id}.${kind}`))
}

/** Whether all namespaces of a pod are there. */
export function arePinned(folder: string, id: string, config: PodSandboxConfig): boolean {
  const user = podUserNamespace(folder, id, config)
  const paths = [...Object.values(pinPaths(folder, id, config)), ...(user ? [user.path] : [])]
  return paths.every((path) => isNamespacePinned(path))
}

/** IDs whose pins are in the folder. */
export async function pinnedIds(folder: string): Promise<string[]> {
  return [...new Set((await readdir(folder)).map((name) => name.split('.')[0] ?? ''))]
}
