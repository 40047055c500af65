// The kernel settings of a pod: only those that namespaces keep apart.
import { CriError } from '@nodelet/cri-api'
import type { NamespaceKind } from '@nodelet/linux'

export interface Sysctl {
  name: string
  /** The namespace that it belongs to. */
  kind: NamespaceKind
  file: string
  value: string
}

/** Every pod with a network of its own gets these, unless it asks for others: low ports and ping for any user. */
const defaults: Readonly<Record<string, string>> = {
  'net.ipv4.ip_unprivileged_port_start': '0',
  'net.ipv4.ping_group_range': '0 2147483647',
}

/**
 * What is to be written, and in which namespace. Names may have dots or slashes.
 *
 * @throws CriError INVALID_ARGUMENT for one that would change the node.
 */
export function sandboxSysctls(
  asked: Readonly<Record<string, string>>,
  own: Partial<Record<NamespaceKind, string>>,
): Sysctl[] {
  const entries = Object.entries({ ...(own.net === undefined ? {} : defaults), ...asked })
  return entries.map(([name, value]) => {
    const path = name.includes('/') ? name : name.replaceAll('.', '/')
    const kind = kindOf(path)
    if (!kind || path.split('/').includes('..')) {
      throw new CriError('INVALID_ARGUMENT', `sysctl "${name}" is of the whole node: set it there, not in a pod`)
    }
    if (own[kind] === undefined) {
      const shared = kind === 'net' ? 'network' : 'IPC namespace'
      throw new CriError('INVALID_ARGUMENT', `sysctl "${name}" cannot be set: the pod uses the node's ${shared}`)
    }
    return { name, kind, file: `/proc/sys/${path}`, value }
  })
}

function kindOf(path: string): NamespaceKind | undefined {
  if (path.startsWith('net/')) return 'net'
  return /^(kernel\/(shm|msg|sem$)|fs\/mqueue\/)/.test(path) ? 'ipc' : undefined
}
