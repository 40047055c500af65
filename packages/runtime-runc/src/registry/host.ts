// Where the images of a registry come from: its own host, or mirrors of it.
export type Capability = 'pull' | 'resolve' | 'push' | 'referrers'

export const capabilities: readonly Capability[] = ['pull', 'resolve', 'push', 'referrers']

/** A certificate and its key, as PEM. */
export interface KeyPair {
  cert: string
  key: string
}

/** How to speak to a host. */
export interface HostSettings {
  /** `resolve`: may say what a tag stands for. `pull`: may serve what a digest names. */
  capabilities: readonly Capability[]
  /** Certificate authorities beside the usual ones, as PEM. */
  ca: readonly string[]
  client: readonly KeyPair[]
  skipVerify: boolean
  headers: Readonly<Record<string, string[]>>
  /** Milliseconds to connect in; default: the caller's. */
  dialTimeout?: number
}

export interface RegistryHost extends HostSettings {
  /** The root of its API, with a slash at the end: `https://registry-1.docker.io/v2/`. */
  api: string
  /** Stands in for another, which it is told with each request. */
  isMirror: boolean
  /** Plain HTTP is spoken when it turns out not to know TLS. */
  mayBePlain: boolean
}

export const plainSettings: HostSettings = { capabilities, ca: [], client: [], skipVerify: false, headers: {} }

/** This machine itself, in whatever way it is called. */
export const isLoopback = (host: string): boolean => /^(localhost|127\.[\d.]+|\[::1\])(:\d+)?$/.test(host)

/** The host that serves a registry's name. */
export const servingHost = (domain: string): string => (domain === 'docker.io' ? 'registry-1.docker.io' : domain)

/**
 * The host that a registry's name itself says.
 * @param isPlain whether it is spoken to without TLS; default: a loopback host with a port of its own may be, when it
 *   does not know TLS
 */
export function ownHost(domain: string, settings: HostSettings = plainSettings, isPlain?: boolean): RegistryHost {
  const host = servingHost(domain)
  const port = /:(\d+)$/.exec(host)?.[1] ?? '443'
  const isOpen = isPlain === undefined && isLoopback(host) && port !== '443'
  const scheme = isPlain === true || (isOpen && port === '80') ? 'http' : 'https'
  const mayBePlain = isOpen && scheme === 'https'
  const isTrusted = mayBePlain && settings.ca.length === 0 && settings.client.length === 0
  return {
    ...settings,
    // Nobody stands between this machine and itself.
    skipVerify: settings.skipVerify || isTrusted,
    api: `${scheme}://${host}/v2/`,
    isMirror: false,
    mayBePlain,
  }
}

/**
 * A host by its address, as hosts.toml writes it.
 * @param isRoot whether the path is the API's root already
 * @throws TypeError when it is no address
 */
export function hostAt(address: string, domain: string, settings: HostSettings, isRoot: boolean): RegistryHost {
  const url = new URL(/^https?:\/\//.test(address) ? address : `https://${address}`)
  const path = url.pathname.replace(/\/+$/, '')
  url.pathname = isRoot || path.endsWith('/v2') ? `${path}/` : `${path}/v2/`
  url.search = ''
  url.hash = ''
  const wantsTls = settings.ca.length > 0 || settings.client.length > 0 || settings.skipVerify
  const mayBePlain = url.protocol === 'http:' && wantsTls && url.port !== ''
  if (mayBePlain) url.protocol = 'https:'
  return { ...settings, api: url.href, isMirror: url.host !== servingHost(domain) && url.host !== domain, mayBePlain }
}
