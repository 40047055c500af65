// What a kubelet is made from.
import type { ImageService, RuntimeService } from '@nodelet/cri-api'
import type { KubeClient } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { KubeletConfiguration, KubeletConfigurationInput } from './configuration/kubelet-configuration.ts'
import type { Clock } from './clock.ts'
import type { Logger, LogLevel } from './log.ts'
import type { Prober } from './probe/types.ts'
import type { CgroupDriver } from './resource/cgroup-driver.ts'
import type { Logind } from './shutdown/logind.ts'
import type { HealthCheck } from './server/health.ts'
import type { VolumeManager } from './volume/types.ts'

export interface KubeletOptions {
  nodeName: string
  /** Addresses that others reach this node at; one per family, the primary one first. */
  nodeIPs: readonly string[]
  /** None: standalone, pods of the manifests folder only. */
  client?: KubeClient | undefined
  /** Default: that of `containerRuntimeEndpoint` of the configuration. */
  runtimeService?: RuntimeService | undefined
  /** Default: that of `imageServiceEndpoint` or `containerRuntimeEndpoint` of the configuration. */
  imageService?: ImageService | undefined
  /** Usually `/var/lib/kubelet`; made when missing. */
  rootDir: string
  /** Default: files of the machine's cgroup file system. */
  cgroups?: CgroupDriver | undefined
  /** What a KubeletConfiguration says; what it leaves out has the defaults of the Go kubelet. */
  configuration?: KubeletConfigurationInput | undefined
  nodeLabels?: Readonly<Record<string, string>> | undefined
  /** Programs that know credentials for images: a CredentialProviderConfig, parsed, and the folder of the programs. */
  imageCredentialProviders?: { config: unknown; binDir: string } | undefined
  /** The HTTPS server for logs, exec and the like. None: no server. */
  server?: KubeletServerSettings | undefined
  /** Default: made inside. */
  volumes?: VolumeManager | undefined
  /** Default: made inside. */
  prober?: Prober | undefined
  /** Who tells of shutdowns of the machine; default: systemd-logind. Asked only when the configuration waits for them. */
  logind?: Logind | undefined
  /** Where the kernel tells whom it killed when the machine ran out of memory; default `/dev/kmsg`. */
  kernelLog?: string | undefined
  /**
   * Who makes and keeps the chains of `makeIPTablesUtilChains`, until that is disposed: `keepKubeletRules` of
   * `@nodelet/proxy-rules`, for instance. None: nobody.
   */
  utilChains?: (() => Promise<AsyncDisposable>) | undefined
  /**
   * Whether this process is the kubelet's own: what the configuration says of that is done to it (`oomScoreAdj`,
   * `maxOpenFiles`, `kubeletCgroups`), and its service manager is told (`READY=1`, and `WATCHDOG=1` while all is well). Default false.
   */
  ownProcess?: boolean | undefined
  /**
   * Makes `rootDir` a shared mount when it is on none, so that what CSI drivers in pods mount there is seen on the node. It stays so:
   * the mount is to be taken away with the folder. Machines with systemd have it anyway. Default false.
   */
  shareRoot?: boolean | undefined
  /**
   * Told when the kubelet cannot go on: its CSINode object cannot be made though the API server responds, or, with
   * `rotateCertificates`, it has had no valid certificate for five minutes. The Go kubelet exits; default: the log says so.
   */
  failed?: ((error: Error) => void) | undefined
  /** Pods that start at a time; default: one more than there are cores. */
  parallelStarts?: number | undefined
  log?: Logger | undefined
  /**
   * Makes `log` tell more or less, as `logging.verbosity` of the configuration and `PUT /debug/flags/v` of the server say:
   * 0 to 3 is `info`, 4 and more `debug`. Left out: neither changes anything.
   */
  setLogLevel?: ((level: LogLevel) => void) | undefined
  clock?: Clock | undefined
}

/** Where the server listens, and whom it believes. All PEM; what is left out comes from the configuration. */
export interface KubeletServerSettings {
  address: string
  /** 0 takes a free one. */
  port: number
  /**
   * Default: what `tlsCertFile` and `tlsPrivateKeyFile` have, followed as they change; without these, one that signs
   * itself, kept below the root in `pki/kubelet.crt` and `pki/kubelet.key`.
   */
  certificate?: string | undefined
  key?: string | undefined
  /**
   * Clients may show a certificate of this authority; default: of `authentication.x509.clientCAFile`. Others show
   * tokens, when there is a `client` to ask about them.
   */
  clientCa?: string | undefined
}

export interface Kubelet {
  /** Adopts what runs, reads the sources and begins. Returns once the node is registered and pods are followed. */
  start(signal?: AbortSignal): Promise<void>
  /** Stops deciding. Containers keep running. */
  close(): Promise<void>
  /** Ends every pod that the runtime has, with its grace, and removes what it had. For a kubelet that was started or not. */
  removeAllPods(): Promise<void>
  /** The pods of this node with their newest status. */
  pods(): readonly Pod[]
  /** Whether all is well, as `/healthz` says. */
  health(): readonly HealthCheck[]
  /** Where the server listens, once started; undefined without one. */
  readonly port: number | undefined
}

/** @throws RangeError naming the option */
export function checkOptions(options: KubeletOptions, configuration: KubeletConfiguration): void {
  const { staticPodPath, staticPodURL } = configuration
  const refuse = (what: string): never => {
    throw new RangeError(`createKubelet: ${what}`)
  }
  if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(options.nodeName)) {
    refuse(`nodeName ${JSON.stringify(options.nodeName)}: must be a DNS name in lower case`)
  }
  if (options.nodeIPs.length === 0 || options.nodeIPs.length > 2) refuse('nodeIPs: one address, or one per family')
  if (!options.rootDir.startsWith('/')) refuse(`rootDir ${JSON.stringify(options.rootDir)}: must be absolute`)
  if (!options.client && !staticPodPath && !staticPodURL) {
    refuse('neither client nor configuration.staticPodPath or staticPodURL: there is no source of pods')
  }
}
