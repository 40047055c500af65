// The part of the OCI runtime specification's config.json that is written here.

/** `process` of config.json; the same object is given to `runc exec --process`. */
export interface OciProcess {
  terminal: boolean
  user: { uid: number; gid: number; additionalGids: number[] }
  args: string[]
  env: string[]
  cwd: string
  capabilities: OciCapabilities
  noNewPrivileges: boolean
  oomScoreAdj: number
  apparmorProfile?: string
  selinuxLabel?: string
  rlimits?: { type: string; hard: number; soft: number }[]
}

/** Capability sets with `CAP_` names. */
export interface OciCapabilities {
  bounding: string[]
  permitted: string[]
  effective: string[]
  inheritable: string[]
  ambient: string[]
}

export interface OciMount {
  destination: string
  type: string
  source: string
  options: string[]
}

export interface OciDevice {
  path: string
  type: 'b' | 'c' | 'u' | 'p'
  major: number
  minor: number
  /** Default: 0666. */
  fileMode?: number
  uid: number
  gid: number
}

export interface OciDeviceRule {
  allow: boolean
  type?: OciDevice['type'] | 'a'
  major?: number
  minor?: number
  access: string
}

/** A line of a user namespace's mappings. */
export interface OciIdMapping {
  containerID: number
  hostID: number
  size: number
}

export interface OciNamespace {
  type: 'user' | 'mount' | 'pid' | 'network' | 'ipc' | 'uts' | 'cgroup'
  path?: string
}

export interface OciResources {
  devices: OciDeviceRule[]
  memory?: { limit?: number; swap?: number }
  cpu?: { shares?: number; quota?: number; period?: number; cpus?: string; mems?: string }
  hugepageLimits?: { pageSize: string; limit: number }[]
  unified?: Record<string, string>
}

export interface OciSyscallRule {
  names: string[]
  action: string
  errnoRet?: number
  args?: { index: number; value: number; valueTwo?: number; op: string }[]
}

/** A seccomp filter; a profile file of the user passes through, so more fields may be present. */
export interface OciSeccomp {
  defaultAction: string
  architectures?: string[]
  syscalls?: OciSyscallRule[]
  [field: string]: unknown
}

/** Programs that the OCI runtime starts at the steps of a container's life. */
export type OciHooks = Partial<
  Record<
    'prestart' | 'createRuntime' | 'createContainer' | 'startContainer' | 'poststart' | 'poststop',
    { path: string; args?: string[]; env?: string[]; timeout?: number }[]
  >
>

/** config.json. */
export interface OciSpec {
  ociVersion: string
  process: OciProcess
  root: { path: string; readonly: boolean }
  mounts: OciMount[]
  annotations: Record<string, string>
  hooks?: OciHooks
  linux: {
    namespaces: OciNamespace[]
    /** Of the user namespace that is joined: its mappings, which are there already. */
    uidMappings?: OciIdMapping[]
    gidMappings?: OciIdMapping[]
    devices: OciDevice[]
    resources: OciResources
    cgroupsPath: string
    maskedPaths: string[]
    readonlyPaths: string[]
    seccomp?: OciSeccomp
    rootfsPropagation?: string
    /** Of the mounts that the OCI runtime makes. */
    mountLabel?: string
    intelRdt?: Record<string, unknown>
    netDevices?: Record<string, { name: string }>
  }
}
