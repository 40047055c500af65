// How a node that has no certificate yet joins: by a kubeconfig that may only ask for one.
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createKubeClient, type KubeClient, type KubeConnection, loadKubeconfig } from '@nodelet/kube-client'
import { stringify } from 'yaml'
import { type Logger, silentLogger } from '../log.ts'
import { clientSigning, nodeSubject, requestCertificate, requestName } from './signing.ts'
import { certificateStore, pairIn } from './store.ts'
import { exportKey, newKeys, validityOf } from './x509.ts'

export interface BootstrapOptions {
  /** `--bootstrap-kubeconfig`: often has a token that is good for a day. */
  bootstrapKubeconfig: string
  /** Where the node's own kubeconfig is, or will be. */
  kubeconfig: string
  /** Where certificates are kept; usually `pki` below the kubelet's folder. */
  certDir: string
  nodeName: string
  signal?: AbortSignal | undefined
  log?: Logger
}

const serverMs = 60_000
const serverRetryMs = 2000
const approvalMs = 3_600_000

/**
 * Sees to it that the node has a kubeconfig that it can use. One that is there and has not ended stays; else a certificate
 * is asked for, and waited for up to an hour. After a crash it goes on with the same key and the same request.
 *
 * @throws Error when neither kubeconfig can be used, or the request is denied
 */
export async function bootstrapClient(options: BootstrapOptions): Promise<void> {
  const { bootstrapKubeconfig, kubeconfig, certDir, nodeName, log = silentLogger } = options
  if (await isUsable(kubeconfig)) return
  log.info({ bootstrapKubeconfig, kubeconfig }, 'asking for a certificate to join the cluster')
  const connection = await loadKubeconfig(bootstrapKubeconfig)
  const deadline = AbortSignal.timeout(approvalMs)
  const signal = options.signal ? AbortSignal.any([options.signal, deadline]) : deadline
  await using client = createKubeClient(connection)
  await mkdir(certDir, { recursive: true, mode: 0o750 })
  const keyFile = join(certDir, 'kubelet-client.key.tmp')
  const key = await keptKey(keyFile)
  await waitForServer(client, signal, log)
  const subject = nodeSubject(nodeName)
  const name = requestName(key, subject, clientSigning.usages)
  const certificate = await requestCertificate({ client, key, subject, name, ...clientSigning, signal })
  const store = certificateStore(certDir, 'kubelet-client')
  await store.write({ certificate, key }, Date.now())
  await writeWhole(kubeconfig, kubeconfigFor(connection, store.path))
  await rm(keyFile, { force: true })
}

/** Whether it is there, and its certificate, if it has one in a file or inline, has not ended. */
async function isUsable(path: string): Promise<boolean> {
  let connection: KubeConnection
  try {
    connection = await loadKubeconfig(path)
  } catch (error) {
    const { cause } = error as Error
    if ((cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return false
    throw error
  }
  const { clientCertificate, clientKey } = connection
  if (!clientCertificate || !clientKey) return true
  const text = async (source: NonNullable<KubeConnection['clientKey']>): Promise<string> =>
    'pem' in source ? source.pem : readFile(source.file, 'utf8').catch(() => '')
  const pair = pairIn((await text(clientCertificate)) + (await text(clientKey)))
  return pair !== undefined && (validityOf(pair)?.notAfter ?? 0) > Date.now()
}

/** The one of a try before, or a new one. */
async function keptKey(path: string): Promise<string> {
  try {
    const found = await readFile(path, 'utf8')
    if (/-----END (EC )?PRIVATE KEY-----\s*$/.test(found)) return found
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const key = await exportKey((await newKeys()).privateKey)
  await writeWhole(path, key)
  return key
}

/** A server that does not answer in a minute is asked all the same: the error says more. */
async function waitForServer(client: KubeClient, signal: AbortSignal, log: Logger): Promise<void> {
  const endMs = performance.now() + serverMs
  for (;;) {
    try {
      const { body } = await client.raw({ path: '/healthz', signal })
      await body.text()
      return
    } catch (error) {
      signal.throwIfAborted()
      if (performance.now() > endMs || (error as Error).name === 'StatusError') return
      log.info({ err: error }, 'waiting for the API server')
      await sleep(serverRetryMs, undefined, { signal })
    }
  }
}

function kubeconfigFor({ server, ca, tlsServerName, insecureSkipTlsVerify }: KubeConnection, pem: string): string {
  const cluster = {
    ...(ca && ('pem' in ca ? inline(ca.pem) : { 'certificate-authority': ca.file })),
    server,
    ...(tlsServerName !== undefined && { 'tls-server-name': tlsServerName }),
    ...(insecureSkipTlsVerify && { 'insecure-skip-tls-verify': true }),
  }
  return stringify({
    apiVersion: 'v1',
    clusters: [{ cluster, name: 'default-cluster' }],
    contexts: [
      { context: { cluster: 'default-cluster', namespace: 'default', user: 'default-auth' }, name: 'default-context' },
    ],
    'current-context': 'default-context',
    kind: 'Config',
    users: [{ name: 'default-auth', user: { 'client-certificate': pem, 'client-key': pem } }],
  })
}

const inline = (pem: string): object => ({ 'certificate-authority-data': Buffer.from(pem).toString('base64') })

async function writeWhole(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(`${path}.new`, text, { mode: 0o600, flush: true })
  await rename(`${path}.new`, path)
}
