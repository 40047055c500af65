// Ports of probes and hooks, given by number or by name. Pure.
import type { Container } from 'kubernetes-types/core/v1.d.ts'

/** @throws Error for a name that the container's ports do not have */
export function resolvePort(port: number | string, { ports = [] }: Container): number {
  const named = typeof port === 'string' ? ports.find(({ name }) => name === port)?.containerPort : undefined
  const number = named ?? (typeof port === 'number' ? port : /^\d+$/.test(port) ? Number(port) : undefined)
  if (number === undefined)
    throw new Error(`port ${JSON.stringify(port)} is neither a number nor a port of the container`)
  if (number < 1 || number > 65_535) throw new Error(`invalid port number: ${number}`)
  return number
}

/** `HOST:PORT`, an IPv6 address in brackets. */
export function joinHostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
