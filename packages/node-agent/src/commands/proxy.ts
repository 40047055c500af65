// `nodelet proxy`: the service proxy alone, with the command line of kube-proxy.
import { writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { createKubeClient, loadKubeconfig } from '@nodelet/kube-client'
import type { KubeConnection } from '@nodelet/kube-client'
import { notifyService } from '@nodelet/linux'
import { deprecations, nodeIPsOf, prepareKernel, proxierOptionsOf, removeProxyRules } from '@nodelet/proxy-rules'
import type { KubeProxyConfiguration, ProxyFlagValues } from '@nodelet/proxy-rules'
import { stringify } from 'yaml'
import { CommandError } from '../errors.ts'
import { openLog } from '../log.ts'
import { checkRoot } from '../machine.ts'
import { readProxyFile } from '../proxy-file.ts'
import { startNodeProxy } from '../proxy.ts'
import { aborted, untilSignal } from './signal.ts'

export interface ProxyCommand {
  /** A KubeProxyConfiguration, YAML or JSON. */
  config?: string | undefined
  /** Write the configuration there, and end. */
  writeConfigTo?: string | undefined
  /** Remove all rules of all modes, and end. */
  cleanup?: boolean | undefined
  /** Set what needs all rights of root, and end. */
  initOnly?: boolean | undefined
  /** Where the API server is, whatever the kubeconfig says. */
  master?: string | undefined
  /** Those that set a field of the configuration. */
  flags: ProxyFlagValues
}

/** @throws ConfigError, CommandError; AggregateError when not all could be removed; Error when the proxy cannot go on */
export async function proxy(command: ProxyCommand): Promise<void> {
  const { config, writeConfigTo, cleanup, initOnly, master, flags } = command
  const log = openLog('info').child({ part: 'proxy' })
  for (const text of deprecations(flags)) log.warn({}, text)
  const unknown = (problems: readonly string[]): void =>
    log.warn({ file: config, problems }, 'Using lenient decoding as strict decoding failed')
  const configuration = await readProxyFile(config, flags, {}, { unknown })
  if (writeConfigTo !== undefined) {
    await writeFile(writeConfigTo, stringify(configuration))
    return log.info({ file: writeConfigTo }, 'Wrote configuration')
  }
  checkRoot()
  if (cleanup) return removeProxyRules({ log })
  const nodeName = configuration.hostnameOverride || hostname().toLowerCase()
  const options = proxierOptionsOf(configuration)
  if (initOnly) {
    prepareKernel({ ...options, nodeName, nodeIPs: nodeIPsOf(configuration, []), log })
    return
  }
  const connection = await connectionOf(configuration, master)
  const signal = untilSignal()
  const failing = new AbortController()
  const ended = AbortSignal.any([signal, failing.signal])
  await using client = createKubeClient(connection)
  await using stack = new AsyncDisposableStack()
  const proxier = await startNodeProxy({
    configuration,
    client,
    nodeName,
    madeWith: { ownProcess: true, ownClient: true },
    failed: (error) => failing.abort(error),
    signal: ended,
    log,
  })
  stack.defer(async () => proxier.close())
  notifyService('READY=1')
  log.info({ mode: configuration.mode || 'iptables', nodeName }, 'proxy started')
  await aborted(ended)
  notifyService('STOPPING=1')
  if (!signal.aborted) throw ended.reason
}

const accountFolder = '/var/run/secrets/kubernetes.io/serviceaccount'

/** By the kubeconfig, the address, or as a pod of the cluster. @throws CommandError */
async function connectionOf(
  { clientConnection: { kubeconfig } }: KubeProxyConfiguration,
  master: string | undefined,
): Promise<KubeConnection> {
  if (kubeconfig !== '') return { ...(await loadKubeconfig(kubeconfig)), ...(master && { server: master }) }
  if (master) return { server: master }
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env
  if (!host || !port) {
    throw new CommandError(
      'neither a kubeconfig nor a master was given, and KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set',
      'name the cluster: nodelet proxy --kubeconfig FILE',
    )
  }
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    ca: { file: `${accountFolder}/ca.crt` },
    tokenFile: `${accountFolder}/token`,
  }
}
