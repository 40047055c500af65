// One context of a kubeconfig, resolved to where and how to connect.

import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { KubeconfigError } from './errors.ts'
import { parseKubeconfig } from './kubeconfig.ts'
import type { Kubeconfig, KubeconfigCluster, KubeconfigExec } from './kubeconfig.ts'

/** PEM text that is here already, or in a file that is read when needed and again when it changes. */
export type PemSource = { readonly pem: string } | { readonly file: string }

/** A program that prints an ExecCredential. */
export interface ExecPlugin {
  readonly apiVersion: string
  /** A path, or a name that is looked up in PATH. */
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly installHint?: string
  /** What the program is told of the cluster, when the kubeconfig wants it told. */
  readonly cluster?: Readonly<Record<string, unknown>>
}

/** Where the API server is and how to speak to it. */
export interface KubeConnection {
  /** For instance `https://10.0.0.1:6443`; may have a path. */
  readonly server: string
  /** Who vouches for the server; default: the certificate authorities that Node trusts. */
  readonly ca?: PemSource
  readonly tlsServerName?: string
  readonly insecureSkipTlsVerify?: boolean
  /** The context's namespace; a hint for programs, this client never adds it by itself. */
  readonly namespace?: string
  readonly clientCertificate?: PemSource
  readonly clientKey?: PemSource
  readonly token?: string
  /** Wins over `token` while it can be read; read again each minute. */
  readonly tokenFile?: string
  readonly basic?: { readonly username: string; readonly password: string }
  /** User to impersonate. */
  readonly impersonate?: string
  readonly exec?: ExecPlugin
}

const named = <T extends { name: string }>(items: readonly T[], name: string, what: string): T => {
  const found = items.find((item) => item.name === name)
  if (found) return found
  const known = items.map((item) => JSON.stringify(item.name)).join(', ')
  throw new KubeconfigError(
    `kubeconfig: no ${what} ${JSON.stringify(name)}; there ${known ? `is ${known}` : `are none`}`,
  )
}

const decode = (base64: string, field: string): string => {
  if (!/^[A-Za-z0-9+/\s]+={0,2}\s*$/.test(base64)) throw new KubeconfigError(`kubeconfig: ${field} is not base64`)
  const pem = Buffer.from(base64, 'base64').toString('utf8')
  if (!pem.includes('-----BEGIN ')) throw new KubeconfigError(`kubeconfig: ${field} is not PEM once base64 is decoded`)
  return pem
}

type PemField = 'certificate-authority' | 'client-certificate' | 'client-key'

/** Inline data wins over a file. */
const pemOf = (
  fields: Partial<Record<PemField | `${PemField}-data`, string | undefined>>,
  field: PemField,
  folder: string,
): PemSource | undefined => {
  const data = fields[`${field}-data`]
  if (data) return { pem: decode(data, `${field}-data`) }
  const file = fields[field]
  return file ? { file: resolve(folder, file) } : undefined
}

/** Drops what is undefined, so that absent fields are absent. */
const compact = <T extends object>(fields: { [K in keyof T]: T[K] | undefined }): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T

/**
 * Resolves one context. Pure: files are named, not read.
 * @param options.context default: the current one
 * @param options.folder what relative paths start from: the kubeconfig's folder; default: the working directory
 * @throws KubeconfigError when a name leads nowhere or the user needs what is not supported
 */
export const connectionOf = (
  config: Kubeconfig,
  options: { context?: string; folder?: string } = {},
): KubeConnection => {
  const folder = options.folder ?? '.'
  const name = options.context ?? config['current-context']
  if (name === undefined)
    throw new KubeconfigError('kubeconfig: no current-context: set one, or name the context to use')
  const { context } = named(config.contexts, name, 'context')
  const { cluster } = named(config.clusters, context.cluster, 'cluster')
  const user = (context.user === undefined ? undefined : named(config.users, context.user, 'user').user) ?? undefined
  const ca = pemOf(cluster, 'certificate-authority', folder)
  const insecure = cluster['insecure-skip-tls-verify']
  if (insecure && ca) {
    throw new KubeconfigError(
      `kubeconfig: cluster ${JSON.stringify(context.cluster)} has a certificate authority and insecure-skip-tls-verify: remove one`,
    )
  }
  if (cluster['proxy-url']) {
    throw new KubeconfigError(
      `kubeconfig: proxy-url of cluster ${JSON.stringify(context.cluster)} is not supported: remove it`,
    )
  }
  if (user?.['auth-provider']) {
    throw new KubeconfigError(
      `kubeconfig: auth-provider of user ${JSON.stringify(context.user)} was removed from Kubernetes: use exec`,
    )
  }
  const clientCertificate = user && pemOf(user, 'client-certificate', folder)
  const clientKey = user && pemOf(user, 'client-key', folder)
  if (!clientCertificate !== !clientKey) {
    throw new KubeconfigError(
      `kubeconfig: user ${JSON.stringify(context.user)} has a client ${clientKey ? 'key but no certificate' : 'certificate but no key'}`,
    )
  }
  return compact<KubeConnection>({
    server: cluster.server.replace(/\/+$/, ''),
    ca,
    tlsServerName: cluster['tls-server-name'],
    insecureSkipTlsVerify: insecure || undefined,
    namespace: context.namespace,
    clientCertificate,
    clientKey,
    token: user?.token,
    tokenFile: user?.tokenFile && resolve(folder, user.tokenFile),
    basic: user?.username ? { username: user.username, password: user.password ?? '' } : undefined,
    impersonate: user?.as,
    exec: user?.exec ? execOf(user.exec, cluster, ca, folder) : undefined,
  })
}

const execOf = (
  exec: KubeconfigExec,
  cluster: KubeconfigCluster,
  ca: PemSource | undefined,
  folder: string,
): ExecPlugin => {
  if (exec.interactiveMode === 'Always') {
    throw new KubeconfigError(
      `kubeconfig: exec plugin ${exec.command} wants a terminal: set interactiveMode to IfAvailable or Never`,
    )
  }
  if (exec.provideClusterInfo && ca && 'file' in ca) {
    throw new KubeconfigError(
      `kubeconfig: exec plugin ${exec.command} has provideClusterInfo: give certificate-authority-data instead of a file`,
    )
  }
  const info = compact<Record<string, unknown>>({
    server: cluster.server,
    'tls-server-name': cluster['tls-server-name'],
    'insecure-skip-tls-verify': cluster['insecure-skip-tls-verify'] || undefined,
    'certificate-authority-data': cluster['certificate-authority-data'],
    config: cluster.extensions.find(({ name }) => name === 'client.authentication.k8s.io/exec')?.extension,
  })
  return compact<ExecPlugin>({
    apiVersion: exec.apiVersion,
    // A bare name is looked up in PATH, a path with a slash starts at the kubeconfig.
    command: exec.command.includes('/') ? resolve(folder, exec.command) : exec.command,
    args: exec.args,
    env: Object.fromEntries(exec.env.map(({ name, value }) => [name, value])),
    installHint: exec.installHint,
    cluster: exec.provideClusterInfo ? info : undefined,
  })
}

/**
 * Reads a kubeconfig file and resolves one context of it.
 * @param options.context default: the current one
 * @throws KubeconfigError, also when the file cannot be read
 */
export const loadKubeconfig = async (path: string, options: { context?: string } = {}): Promise<KubeConnection> => {
  let content: string
  try {
    content = await readFile(path, 'utf8')
  } catch (cause) {
    throw new KubeconfigError(
      `kubeconfig ${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        cause,
      },
    )
  }
  return connectionOf(parseKubeconfig(content, path), { ...options, folder: dirname(resolve(path)) })
}
