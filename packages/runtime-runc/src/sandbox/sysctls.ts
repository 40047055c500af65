// The kernel settings of a pod: only those that namespaces keep apart.
import { CriError } from '@nodelet/cri-api'
import type { IdMappings, NamespaceKind } from '@nodelet/linux'
import { execFile } from '../exec-file.ts'

export interface Sysctl {
  name: string
  /** The namespace that it belongs to. */
  kind: NamespaceKind
  file: string
  value: string
}

/** Every pod with a network of its own gets these, unless it asks for others: low ports and ping for any user. */
const defaults = (user: IdMappings | undefined): Readonly<Record<string, string>> => ({
  'net.ipv4.ip_unprivileged_port_start': '0',
  'net.ipv4.ping_group_range': `0 ${(user?.gids[0]?.length ?? 2 ** 31) - 1}`,
})

/**
 * What is to be written, and in which namespace.
 *
 * @throws CriError INVALID_ARGUMENT for one that would change the node.
 */
export function sandboxSysctls(
  asked: Readonly<Record<string, string>>,
  own: Partial<Record<NamespaceKind, string>>,
  user?: IdMappings,
): Sysctl[] {
  const entries = Object.entries({ ...(own.net === undefined ? {} : defaults(user)), ...asked })
  return entries.map(([name, value]) => {
    const path = sysctlPath(name)
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

/** Whichever of `.` and `/` comes first parts the name; the other is a dot within a part, as in `eth0/1`. */
function sysctlPath(name: string): string {
  const separator = /[./]/.exec(name)?.[0]
  return separator === '.' ? name.replace(/[./]/g, (one) => (one === '.' ? '/' : '.')) : name
}

function kindOf(path: string): NamespaceKind | undefined {
  if (path.startsWith('net/')) return 'net'
  return /^(kernel\/(shm|msg|sem$)|fs\/mqueue\/)/.test(path) ? 'ipc' : undefined
}

/** Of pairs of file and value. */
const writer = 'while [ $# -gt 0 ]; do printf %s "$2" > "$1" || { echo "$1=$2" >&2; exit 1; }; shift 2; done'

/**
 * Sets them as the root of the pod's user namespace: the kernel takes those of IPC from nobody else, and counts groups
 * as the writer does.
 */
export async function setAsPodRoot(
  sysctls: readonly Sysctl[],
  own: Partial<Record<NamespaceKind, string>>,
  { path }: { path: string },
): Promise<void> {
  if (sysctls.length === 0) return
  const namespaces = [
    `--user=${path}`,
    ...(own.net === undefined ? [] : [`--net=${own.net}`]),
    ...(own.ipc === undefined ? [] : [`--ipc=${own.ipc}`]),
  ]
  const pairs = sysctls.flatMap(({ file, value }) => [file, value])
  const { code, stderr } = await execFile('nsenter', [...namespaces, 'sh', '-c', writer, 'sh', ...pairs])
  if (code !== 0) throw new Error(`setting a sysctl in the sandbox: ${stderr.trim()}`)
}
