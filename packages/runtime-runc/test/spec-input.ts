// A container, its pod and machine, for tests of the spec.
import { ContainerConfig, NamespaceMode, PodSandboxConfig } from '@nodelet/cri-api'
import type { DeepPartial } from '@nodelet/cri-api'
import { CAPABILITIES } from '../src/capabilities.ts'
import { buildSpec } from '../src/index.ts'
import type { ContainerFacts, HandlerFacts, HostFacts, ImageConfig, OciSpec, SandboxFacts } from '../src/index.ts'

export const host: HostFacts = {
  arch: 'amd64',
  kernel: [6, 18],
  cgroupVersion: 1,
  cgroupOptions: [],
  hugetlb: true,
  swapLimit: true,
  capabilities: CAPABILITIES,
  oomScoreAdj: 0,
  canLowerOomScore: true,
  seccomp: true,
  apparmor: false,
}
export const sandbox: SandboxFacts = {
  id: 'pod1',
  hostname: 'web-0',
  networkPath: '/ns/net',
  ipcPath: '/ns/ipc',
  utsPath: '/ns/uts',
  hostnameFile: '/pod/hostname',
  hostsFile: '/pod/hosts',
  shmPath: '/pod/shm',
}

export type Config = DeepPartial<ContainerConfig>
export type Overrides = {
  host?: Partial<HostFacts>
  /** What is undefined is left out. */
  sandbox?: { [Key in keyof SandboxFacts]?: SandboxFacts[Key] | undefined }
  privilegedPod?: boolean
  targetPid?: number
  handler?: Partial<HandlerFacts>
  podAnnotations?: Record<string, string>
  pod?: DeepPartial<PodSandboxConfig>
  container?: Partial<ContainerFacts>
}

export const noFeatures = { recursiveReadOnlyMounts: false, userNamespaces: false }

export function spec(config: Config, image: ImageConfig = { Cmd: ['/bin/true'] }, more: Overrides = {}): OciSpec {
  const container = ContainerConfig.fromPartial({
    ...config,
    linux: {
      ...config.linux,
      securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER }, ...config.linux?.securityContext },
    },
  })
  return buildSpec({
    container,
    sandbox: PodSandboxConfig.fromPartial({
      metadata: { name: 'web', namespace: 'default', uid: 'u1' },
      annotations: more.podAnnotations ?? {},
      ...more.pod,
      linux: {
        cgroupParent: '/kubepods/podu1',
        securityContext: { privileged: more.privilegedPod ?? false },
        ...more.pod?.linux,
      },
    }),
    image,
    facts: {
      ...(more.handler && { handler: { features: noFeatures, cgroupDriver: 'cgroupfs' as const, ...more.handler } }),
      container: {
        id: 'c1',
        rootfs: '/root',
        user: { uid: 0, gid: 0, additionalGids: [0] },
        sources: {
          '/shared': { path: '/shared', propagation: 'shared', mountPoint: '/shared' },
          '/slave': { path: '/slave', propagation: 'slave', mountPoint: '/slave' },
          '/private': { path: '/real/private', propagation: 'private', mountPoint: '/real' },
        },
        imageVolumes: Object.fromEntries(Object.keys(image.Volumes ?? {}).map((path) => [path, `/volumes${path}`])),
        devices: {
          '/dev/fuse': [{ path: '/dev/fuse', type: 'c', major: 10, minor: 229, fileMode: 0o666, uid: 0, gid: 0 }],
        },
        hostDevices: [{ path: '/dev/vda', type: 'b', major: 254, minor: 0, fileMode: 0o660, uid: 0, gid: 6 }],
        ...more.container,
        ...(more.targetPid === undefined ? {} : { targetPid: more.targetPid }),
      },
      sandbox: { ...sandbox, ...more.sandbox } as SandboxFacts,
      host: { ...host, ...more.host },
    },
  })
}
