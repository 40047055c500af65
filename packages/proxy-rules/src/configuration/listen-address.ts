// Where the proxy's servers listen, as a configuration says it. Pure.
import { parseAddress } from '../net/address.ts'

/** Ports that load balancers and scrapers know. */
export const usualPorts = { healthzBindAddress: 10_256, metricsBindAddress: 10_249 } as const

/** A bare address with the port; anything else as it is. */
export function withPort(address: string, port: number): string {
  if (!parseAddress(address)) return address
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** The parts of `host:port` or `[host]:port`; neither is checked. */
export function splitHostPort(text: string): { host: string; port: string } | undefined {
  const [, bracketed, plain, port] = /^(?:\[([^[\]]*)\]|([^:[\]]*)):([^:[\]]*)$/.exec(text) ?? []
  return port === undefined ? undefined : { host: bracketed ?? plain ?? '', port }
}

/** The same place, with its address in canonical spelling. */
export function canonicalListenAddress(text: string): string {
  const { host, port } = splitHostPort(text) ?? {}
  const address = parseAddress(host)
  return address && port !== undefined ? withPort(address.text, Number(port)) : text
}
