// The files that a sandbox's containers see, and their shared memory.
import { chown, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { NamespaceMode } from '@nodelet/cri-api'
import type { DNSConfig, PodSandboxConfig } from '@nodelet/cri-api'
import { isMountPoint, mount, unmountIfMounted } from '@nodelet/linux'
import { readText } from '../files.ts'
import { contextOption, setLabel } from '../selinux/relabel.ts'
import { askedIdMappings, podRoot } from '../spec/user-namespace.ts'
import { namespaceOptions, podHostname } from './namespaces.ts'

const SHM_OPTIONS = ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k']

/** Paths below the pod's folder. */
export interface PodFiles {
  hostnameFile: string
  hostsFile: string
  resolvConfFile: string
  /** Absent when the pod uses the node's IPC namespace. */
  shmPath?: string
}

export function podFiles(folder: string, config: PodSandboxConfig): PodFiles {
  const hostIpc = namespaceOptions(config)?.ipc === NamespaceMode.NODE
  return {
    hostnameFile: join(folder, 'hostname'),
    hostsFile: join(folder, 'hosts'),
    resolvConfFile: join(folder, 'resolv.conf'),
    ...(hostIpc ? {} : { shmPath: join(folder, 'shm') }),
  }
}

/** Writes the files and mounts the shared memory; all belong to the pod's root. @param label of all for SELinux */
export async function makePodFiles(folder: string, config: PodSandboxConfig, label?: string): Promise<void> {
  const { uid, gid } = podRoot(askedIdMappings(namespaceOptions(config)))
  // 0711: programs of any user in the pod reach the files through their bind mounts, nobody lists the folder.
  await mkdir(folder, { recursive: true, mode: 0o711 })
  const { hostnameFile, hostsFile, resolvConfFile, shmPath } = podFiles(folder, config)
  const resolvConf = config.dnsConfig ? resolvConfOf(config.dnsConfig) : ((await readText('/etc/resolv.conf')) ?? '')
  await writeFile(hostnameFile, `${podHostname(config)}\n`, { mode: 0o644 })
  await writeFile(hostsFile, await readFile('/etc/hosts'), { mode: 0o644 })
  await writeFile(resolvConfFile, resolvConf, { mode: 0o644 })
  for (const path of [hostnameFile, hostsFile, resolvConfFile]) {
    await chown(path, uid, gid)
    if (label !== undefined) setLabel(path, label)
  }
  if (shmPath === undefined) return
  await mkdir(shmPath, { recursive: true })
  const options = [...SHM_OPTIONS, `uid=${uid}`, `gid=${gid}`, ...(label === undefined ? [] : [contextOption(label)])]
  if (!isMountPoint(shmPath)) mount({ source: 'shm', target: shmPath, type: 'tmpfs', options })
}

/** Fine when there are none. */
export async function removePodFiles(folder: string): Promise<void> {
  unmountIfMounted(join(folder, 'shm'), { detach: true })
  await rm(folder, { recursive: true, force: true })
}

/** resolv.conf in the order that peers write; empty for an empty configuration. */
export function resolvConfOf({ searches, servers, options }: DNSConfig): string {
  const lines = [
    ...(searches.length > 0 ? [`search ${searches.join(' ')}`] : []),
    ...servers.map((server) => `nameserver ${server}`),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
  ]
  return lines.map((line) => `${line}\n`).join('')
}
