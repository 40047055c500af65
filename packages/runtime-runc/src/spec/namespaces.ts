// Which namespaces are new, joined, or the host's.
import { NamespaceMode } from '@nodelet/cri-api'
import type { NamespaceOption } from '@nodelet/cri-api'
import { SpecError } from './errors.ts'
import type { HostFacts, SandboxFacts } from './facts.ts'
import type { OciNamespace } from './oci.ts'
import { assertPodsIdMappings } from './user-namespace.ts'

/**
 * Lists the namespaces of a container in a pod. What is not listed is the host's.
 *
 * @throws SpecError when a namespace to join is not there, or the mode is not supported.
 */
export function buildNamespaces(
  options: NamespaceOption | undefined,
  privileged: boolean,
  sandbox: SandboxFacts,
  targetPid: number | undefined,
  host: Pick<HostFacts, 'cgroupVersion'>,
): OciNamespace[] {
  assertPodsIdMappings(options, sandbox.userNamespace)
  const network = options?.network ?? NamespaceMode.POD
  const result: OciNamespace[] = []
  // First: the right to join the others comes with it.
  if (sandbox.userNamespace) result.push({ type: 'user', path: sandbox.userNamespace.path })
  result.push({ type: 'mount' })
  if (network !== NamespaceMode.NODE)
    result.push(...pods('network', sandbox.networkPath), ...pods('uts', sandbox.utsPath))
  if (options?.ipc !== NamespaceMode.NODE) result.push(...pods('ipc', sandbox.ipcPath))
  const pid = pidNamespace(options, sandbox, targetPid)
  if (pid) result.push(pid)
  if (host.cgroupVersion === 2 && !privileged) result.push({ type: 'cgroup' })
  return result
}

function pidNamespace(
  options: NamespaceOption | undefined,
  sandbox: SandboxFacts,
  targetPid: number | undefined,
): OciNamespace | undefined {
  const mode = options?.pid ?? NamespaceMode.POD
  switch (mode) {
    case NamespaceMode.NODE:
      return undefined
    case NamespaceMode.CONTAINER:
      return { type: 'pid' }
    case NamespaceMode.POD:
      if (sandbox.pidPath !== undefined) return { type: 'pid', path: sandbox.pidPath }
      // The pod shares none: the container has its own, as its pod's mode says.
      return sandbox.nodePids ? undefined : { type: 'pid' }
    case NamespaceMode.TARGET:
      if (targetPid === undefined) {
        throw new SpecError(
          `target container "${options?.targetId}" is not running: its PID namespace cannot be joined`,
        )
      }
      return { type: 'pid', path: `/proc/${targetPid}/ns/pid` }
    default:
      throw new SpecError(`PID namespace mode ${mode} is unknown: use POD, CONTAINER, NODE or TARGET`)
  }
}

/** The pod's; none when the pod is in the host's. */
const pods = (type: OciNamespace['type'], path: string | undefined): OciNamespace[] => (path ? [{ type, path }] : [])
