// How bytes get to a host: TLS, proxies, time limits.
import { createSecureContext, getCACertificates } from 'node:tls'
import { Agent, EnvHttpProxyAgent } from 'undici'
import type { Dispatcher } from 'undici'
import { isLoopback } from './host.ts'
import type { RegistryHost } from './host.ts'

const defaultConnectMs = 30_000

export interface TransportLimits {
  /** Milliseconds of silence within an answer until the connection counts as dead. */
  silenceMs: number
}

/**
 * A dispatcher of this host's own. Proxies are the environment's; this machine itself is never behind one.
 * @throws Error when certificates are not what TLS takes
 */
export function dispatcherFor(
  {
    api,
    ca,
    client,
    skipVerify,
    dialTimeout,
  }: Pick<RegistryHost, 'api' | 'ca' | 'client' | 'skipVerify' | 'dialTimeout'>,
  { silenceMs }: TransportLimits,
): Dispatcher {
  const timeout = dialTimeout ?? defaultConnectMs
  const isOwn = ca.length > 0 || client.length > 0
  const tls = {
    timeout,
    rejectUnauthorized: !skipVerify,
    ...(isOwn && { secureContext: contextOf({ ca, client }) }),
    allowH2: false,
  }
  const limits = {
    connect: tls,
    requestTls: tls,
    connectTimeout: timeout,
    // How long a registry thinks before it answers is bounded by the pull's progress; some first fetch from elsewhere.
    headersTimeout: 0,
    bodyTimeout: silenceMs,
    // Blobs that come together would share one flow over HTTP/2.
    allowH2: false,
  }
  return isLoopback(new URL(api).host) ? new Agent(limits) : new EnvHttpProxyAgent(limits)
}

/** Made once for all connections: it takes long. */
function contextOf({ ca, client }: Pick<RegistryHost, 'ca' | 'client'>): ReturnType<typeof createSecureContext> {
  return createSecureContext({
    ...(ca.length > 0 && { ca: [...getCACertificates('default'), ...ca] }),
    ...(client.length > 0 && { cert: client.map(({ cert }) => cert), key: client.map(({ key }) => key) }),
  })
}

const plainCodes = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'ERR_SSL_HTTP_REQUEST'])

/** Whether a failed handshake shows that the other side does not speak TLS. */
export function isNotTls(error: unknown): boolean {
  const { code = '', message = '', cause } = error as { code?: string; message?: string; cause?: unknown }
  if (plainCodes.has(code) || /wrong version number|packet length too long/.test(message)) return true
  return cause !== undefined && cause !== null && isNotTls(cause)
}
