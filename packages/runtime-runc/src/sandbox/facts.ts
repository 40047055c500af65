// A sandbox as its containers' specs need it.
import { join } from 'node:path'
import type { PodSandboxConfig } from '@nodelet/cri-api'
import { LinuxPodSandboxConfig, NamespaceMode } from '@nodelet/cri-api'
import type { SandboxFacts } from '../spec/facts.ts'
import { namespaceOptions, pinPaths, podHostname, podUserNamespace } from './namespaces.ts'
import { podFiles } from './pod-files.ts'
import type { SandboxRecord } from './record.ts'
import type { SandboxFolders } from './store.ts'

/** `infraPid` is the first process of the shared PID namespace, if the pod shares one. */
export function sandboxFacts(
  folders: SandboxFolders,
  { id, config, selinux }: Readonly<SandboxRecord>,
  infraPid?: number,
): SandboxFacts {
  const { net, ipc, uts } = pinPaths(folders.namespaces, id, config)
  const userNamespace = podUserNamespace(folders.namespaces, id, config)
  return {
    id,
    hostname: podHostname(config),
    ...(net === undefined ? {} : { networkPath: net }),
    ...(uts === undefined ? {} : { utsPath: uts }),
    ...(ipc === undefined ? {} : { ipcPath: ipc }),
    nodePids: namespaceOptions(config)?.pid === NamespaceMode.NODE,
    ...(infraPid === undefined ? {} : { pidPath: `/proc/${infraPid}/ns/pid` }),
    ...(userNamespace ? { userNamespace } : {}),
    ...(selinux ? { selinux } : {}),
    ...podFiles(join(folders.pods, id), config),
  }
}

/** The sandbox's configuration with the cgroup that its containers are really put in. */
export function effectiveConfig({ config, cgroupParent }: Readonly<SandboxRecord>): PodSandboxConfig {
  return { ...config, linux: { ...LinuxPodSandboxConfig.fromPartial(config.linux ?? {}), cgroupParent } }
}
