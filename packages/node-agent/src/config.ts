// NodeletConfiguration: what `nodelet up` needs to know, from flags over a file over defaults.
import { hostname } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { packageNamePattern } from '@nodelet/cni-plugins'
import { parseKubeletConfiguration } from '@nodelet/kubelet-core'
import type { KubeletConfigurationInput } from '@nodelet/kubelet-core'
import type { KubeProxyConfiguration } from '@nodelet/proxy-rules'
import type { ImagesOptions } from '@nodelet/runtime-runc'
import { z } from 'zod'
import { ConfigError } from './errors.ts'
import { partNames, type Part } from './parts.ts'
import { readProxyFile, readYaml } from './proxy-file.ts'

/** Complete and checked. */
export interface NodeConfig {
  apiVersion?: 'nodelet.dev/v1alpha1' | undefined
  kind?: 'NodeletConfiguration' | undefined
  /** Everything that must last is below this folder; default `/var/lib/nodelet`. */
  root: string
  /**
   * The kubelet's own folder, as its flag `--root-dir`: `/var/lib/kubelet` for CSI drivers whose manifests name that. What others have in
   * it stays at a reset. Default: `kubelet` below the root.
   */
  kubeletDir?: string | undefined
  /** Sockets and pinned namespaces; a short path on a tmpfs, default `/run/nodelet`. */
  run: string
  /** Default: the machine's host name in lower case. */
  nodeName: string
  /** Addresses that the node is reached by; default: the address of the interface with the default route. */
  nodeIPs?: string[] | undefined
  /** Default: all. */
  parts: Part[]
  /** For joining a cluster instead of running one: leave `cluster` out of the parts then. */
  kubeconfig?: string | undefined
  /** Asks for the certificate of `kubeconfig` while that is not there, or its certificate has ended. */
  bootstrapKubeconfig?: string | undefined
  /** Default 6443. */
  apiPort: number
  /** Default 10250. */
  kubeletPort: number
  /** Default `10.96.0.0/16`. */
  serviceCidr: string
  /** Default `10.88.0.0/16`. */
  podCidr: string
  /** Default `cluster.local`. */
  clusterDomain: string
  clusterDns: string[]
  /** What the service proxy makes its rules of; wins over the field `mode` of `proxyConfig`. Default `iptables`. */
  proxyMode?: 'iptables' | 'ipvs' | 'nftables' | undefined
  /** A KubeProxyConfiguration file, YAML or JSON: what it says wins over what this node would say itself. */
  proxyConfig?: string | undefined
  /** Static pods; default: `manifests` below the root, and `/etc/kubernetes/manifests` when joining a cluster. */
  manifests?: string | undefined
  /** A KubeletConfiguration file, YAML or JSON: what it says wins over what this node would say itself. */
  kubeletConfig?: string | undefined
  /** A CredentialProviderConfig file, YAML or JSON, and the folder of its programs: credentials for images. */
  imageCredentialProviderConfig?: string | undefined
  imageCredentialProviderBinDir?: string | undefined
  /** Where CNI network lists are; default: `cni/net.d` below the root, with a network that is made there. */
  cniConfDir?: string | undefined
  /** Default `/opt/cni/bin`. */
  cniBinDirs: string[]
  /** Folder of custom CNI plugins: each `*.ts`, `*.js` and `*.mjs` in it; default none. */
  cniPluginDir?: string | undefined
  /** npm packages of custom CNI plugins; default none. */
  cniPluginPackages: string[]
  /** Folders that these are looked for from; default: that of the configuration file, then the working folder. */
  cniPackageDirs?: string[] | undefined
  /** Folder of `HOST/hosts.toml` files, as containerd has them; default `/etc/containerd/certs.d`. */
  registryConfigPath: string
  /** Containers have SELinux labels, which this machine must have enabled; default false. */
  enableSelinux: boolean
  /** Images that stay: canonical names, `prefix*` or `*keyword*`; default none. */
  pinnedImages: string[]
  /** Containers of pods are below this cgroup; default `/nodelet`. */
  cgroupRoot: string
  /** Who makes cgroups: this node by files, or systemd where the machine runs it; default `cgroupfs`. */
  cgroupDriver: 'cgroupfs' | 'systemd'
  logLevel: 'error' | 'warn' | 'info' | 'debug'
}

/** What a file or flags may say. */
export type NodeConfigInput = Partial<NodeConfig>

const path = z.string().regex(/^\//, 'must be an absolute path')
const packageName = z.string().regex(packageNamePattern, 'must be the name of an npm package')
const port = z.number().int().min(1).max(65_535)
const cidr = z.union([z.cidrv4(), z.cidrv6()])

const schema: z.ZodType<NodeConfig> = z.strictObject({
  apiVersion: z.literal('nodelet.dev/v1alpha1').optional(),
  kind: z.literal('NodeletConfiguration').optional(),
  root: path.default('/var/lib/nodelet'),
  kubeletDir: path.optional(),
  run: path.max(34, 'must be at most 34 bytes long: unix sockets below it have short names').default('/run/nodelet'),
  nodeName: z
    .string()
    .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'must be a DNS subdomain name')
    .default(() => hostname().toLowerCase()),
  nodeIPs: z.array(z.union([z.ipv4(), z.ipv6()])).optional(),
  parts: z.array(z.enum(partNames)).default([...partNames]),
  kubeconfig: path.optional(),
  bootstrapKubeconfig: path.optional(),
  apiPort: port.default(6443),
  kubeletPort: port.default(10_250),
  serviceCidr: cidr.default('10.96.0.0/16'),
  podCidr: cidr.default('10.88.0.0/16'),
  clusterDomain: z.string().default('cluster.local'),
  clusterDns: z.array(z.string()).default([]),
  proxyMode: z.enum(['iptables', 'ipvs', 'nftables']).optional(),
  proxyConfig: path.optional(),
  manifests: path.optional(),
  kubeletConfig: path.optional(),
  imageCredentialProviderConfig: path.optional(),
  imageCredentialProviderBinDir: path.optional(),
  cniConfDir: path.optional(),
  cniBinDirs: z.array(path).default(['/opt/cni/bin']),
  cniPluginDir: path.optional(),
  cniPluginPackages: z.array(packageName).default([]),
  cniPackageDirs: z.array(path).optional(),
  registryConfigPath: path.default('/etc/containerd/certs.d'),
  enableSelinux: z.boolean().default(false),
  pinnedImages: z.array(z.string().min(1)).default([]),
  cgroupRoot: path.default('/nodelet'),
  cgroupDriver: z.enum(['cgroupfs', 'systemd']).default('cgroupfs'),
  logLevel: z.enum(['error', 'warn', 'info', 'debug']).default('info'),
})

/** How the store of images is opened. */
export const imagesOptionsOf = (
  config: NodeConfig,
): Pick<ImagesOptions, 'root' | 'registryConfigPath' | 'pinnedImages'> => ({
  root: foldersOf(config).images,
  registryConfigPath: config.registryConfigPath,
  pinnedImages: config.pinnedImages,
})

/** Checks a configuration. @throws ConfigError naming every wrong field */
export function parseConfig(input: unknown, source: string): NodeConfig {
  const result = schema.safeParse(input)
  if (!result.success) {
    const problems = result.error.issues.map(({ path: at, message }) => {
      const value = at.reduce<unknown>(
        (object, key) => (object as Record<PropertyKey, unknown> | undefined)?.[key],
        input,
      )
      return `  ${at.join('.') || '(top)'}: ${message}${value === undefined ? '' : `, is ${JSON.stringify(value)}`}`
    })
    throw new ConfigError(`${source}:\n${problems.join('\n')}`)
  }
  const config = result.data
  const { kubeconfig, proxyConfig } = config
  if (!config.parts.includes('cluster') && !kubeconfig && !proxyConfig && config.parts.includes('proxy')) {
    throw new ConfigError(`${source}: the proxy needs a cluster: give a kubeconfig, or run the part "cluster" too`)
  }
  if (config.parts.includes('cluster') && config.kubeconfig) {
    throw new ConfigError(
      `${source}: kubeconfig: this node runs its own cluster: leave "cluster" out of the parts to join`,
    )
  }
  const { root, run, kubeletDir } = config
  const around =
    kubeletDir && [root, run].find((folder) => `${folder}/`.startsWith(`${kubeletDir.replace(/\/+$/, '')}/`))
  if (around) {
    throw new ConfigError(
      `${source}: kubeletDir: ${kubeletDir} has the node's folder ${around} in it: name another one`,
    )
  }
  const within = kubeletDir && [root, run].find((folder) => `${kubeletDir}/`.startsWith(`${folder}/`))
  if (within) {
    throw new ConfigError(
      `${source}: kubeletDir: ${kubeletDir} is in the node's folder ${within}: name one outside, or none`,
    )
  }
  if (config.bootstrapKubeconfig && !config.kubeconfig) {
    throw new ConfigError(`${source}: bootstrapKubeconfig: give a kubeconfig too: it says where the node keeps its own`)
  }
  if (config.parts.includes('kubelet') && !config.parts.includes('runtime') && !config.kubeletConfig) {
    throw new ConfigError(
      `${source}: parts: the kubelet needs a runtime: add "runtime", or give a kubeletConfig whose containerRuntimeEndpoint names one`,
    )
  }
  return config
}

/** Reads a configuration file (YAML or JSON), if one is named, and lays the flags over it. @throws ConfigError */
export async function readConfig(file: string | undefined, flags: Partial<NodeConfigInput>): Promise<NodeConfig> {
  const said = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined))
  if (file === undefined) return parseConfig(said, 'flags')
  const cniPackageDirs = [dirname(resolve(file)), process.cwd()]
  return parseConfig({ cniPackageDirs, ...(await readYaml(file)), ...said }, file)
}

/** The programs that know credentials; undefined when none are configured. @throws ConfigError */
export async function readCredentialProviders(
  config: NodeConfig,
): Promise<{ config: unknown; binDir: string } | undefined> {
  const { imageCredentialProviderConfig: file, imageCredentialProviderBinDir: binDir } = config
  if (file === undefined && binDir === undefined) return undefined
  if (file === undefined || binDir === undefined) {
    throw new ConfigError('imageCredentialProviderConfig and imageCredentialProviderBinDir: one needs the other')
  }
  return { config: await readYaml(file), binDir }
}

/** What this node says of its kubelet, and over that what the user's file says. @throws ConfigError */
export async function readKubeletConfig(config: NodeConfig): Promise<KubeletConfigurationInput> {
  const { podLogs, manifests } = foldersOf(config)
  const own: KubeletConfigurationInput = {
    podLogsDir: podLogs,
    staticPodPath: manifests,
    cgroupRoot: config.cgroupRoot,
    clusterDNS: config.clusterDns,
    clusterDomain: config.clusterDomain,
    podCIDR: config.podCidr,
    port: config.kubeletPort,
    healthzPort: 10_248,
    // A machine of one's own may have swap; pods do not use it all the same.
    failSwapOn: false,
  }
  const { kubeletConfig: file } = config
  if (file === undefined) return own
  try {
    return parseKubeletConfiguration({ ...own, ...(await readYaml(file)) }, file)
  } catch (error) {
    throw error instanceof RangeError ? new ConfigError(error.message, { cause: error }) : error
  }
}

/** What this node says of its service proxy, and over that what the user's file says. @throws ConfigError */
export async function readProxyConfig({
  proxyConfig,
  proxyMode,
  podCidr,
}: Pick<NodeConfig, 'proxyConfig' | 'proxyMode' | 'podCidr'>): Promise<KubeProxyConfiguration> {
  // A machine of its own has few Services: they need not wait for more.
  const minSyncPeriod = '100ms'
  const own = { clusterCIDR: podCidr, iptables: { minSyncPeriod }, nftables: { minSyncPeriod } }
  return readProxyFile(proxyConfig, proxyMode === undefined ? {} : { 'proxy-mode': proxyMode }, own)
}

/** Where the parts keep what they know. */
export interface Folders {
  cluster: string
  images: string
  runtime: string
  kubelet: string
  podLogs: string
  manifests: string
  cniConf: string
  cniCache: string
  criSocket: string
  controlSocket: string
  logFile: string
}

export function foldersOf({ root, run, kubeletDir, manifests, kubeconfig, cniConfDir }: NodeConfig): Folders {
  return {
    cluster: join(root, 'cluster'),
    images: join(root, 'images'),
    runtime: join(root, 'runtime'),
    kubelet: kubeletDir ?? join(root, 'kubelet'),
    podLogs: join(root, 'pod-logs'),
    manifests: manifests ?? (kubeconfig ? '/etc/kubernetes/manifests' : join(root, 'manifests')),
    cniConf: cniConfDir ?? join(root, 'cni/net.d'),
    cniCache: join(root, 'cni'),
    criSocket: join(run, 'cri.sock'),
    controlSocket: join(run, 'nodelet.sock'),
    logFile: join(root, 'nodelet.log'),
  }
}
