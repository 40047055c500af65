// Who asks by a client certificate, and what is needed for what.
import type { TLSSocket } from 'node:tls'

/** Of a certificate: the common name, and the organisations as groups. */
export interface User {
  name: string
  groups: readonly string[]
  uid?: string
  extra?: Record<string, string[]>
}

/** The user of a connection whose certificate the client CA signed. */
export function userOf(socket: TLSSocket): User | undefined {
  if (!socket.authorized) return undefined
  const { subject } = socket.getPeerCertificate()
  const groups: string | string[] | undefined = subject.O
  const name = [subject.CN].flat().at(-1)
  return name ? { name, groups: groups === undefined ? [] : [groups].flat() } : undefined
}

const verbs: Readonly<Record<string, string>> = {
  GET: 'get',
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
}

/** What a request needs, as the API server's rules for `nodes` name it: any one of the subresources suffices. */
export function neededAccess(method: string, path: string): { verb: string; subresources: string[] } {
  const verb = verbs[method] ?? ''
  const is = (prefix: string): boolean => path === prefix || path.startsWith(`${prefix}/`)
  if (is('/stats')) return { verb, subresources: ['stats'] }
  if (is('/metrics')) return { verb, subresources: ['metrics'] }
  if (is('/logs')) return { verb, subresources: ['log'] }
  if (is('/checkpoint')) return { verb, subresources: ['checkpoint'] }
  if (is('/statusz')) return { verb, subresources: ['statusz'] }
  if (is('/flagz')) return { verb, subresources: ['configz'] }
  if (is('/configz')) return { verb, subresources: ['configz', 'proxy'] }
  if (is('/pods') || is('/runningpods') || is('/runningPods')) return { verb, subresources: ['pods', 'proxy'] }
  if (is('/healthz')) return { verb, subresources: ['healthz', 'proxy'] }
  return { verb, subresources: ['proxy'] }
}

/** The kubelet's words for a user that may not. */
export function forbiddenText({ name }: User, method: string, path: string): string {
  const { verb, subresources } = neededAccess(method, path)
  return `Forbidden (user=${name}, verb=${verb}, resource=nodes, subresource(s)=[${subresources.join(' ')}])`
}
