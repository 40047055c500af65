// What verbose status tells of a sandbox: the keys that users of other runtimes read.
import { PodSandboxConfig } from '@nodelet/cri-api'
import { isNamespacePinned } from '@nodelet/linux'
import type { ServiceContext } from '../service-context.ts'
import { parentCgroup } from '../spec/cgroup-path.ts'
import type { SandboxFacts } from '../spec/facts.ts'
import type { SandboxRecord } from './record.ts'
import { networkStatusOf } from './network.ts'
import { sandboxName } from './status.ts'

export async function sandboxInfo(
  { sandboxes, containers, handlers }: ServiceContext,
  record: Readonly<SandboxRecord>,
): Promise<object> {
  const { id, network, runtimeHandler, infraId, cgroupParent } = record
  const facts = sandboxes.facts(id)
  const { networkPath = '' } = facts
  const config = PodSandboxConfig.toJSON(record.config)
  const infra = containers.list().find((container) => container.id === infraId)
  const cgroupsPath = parentCgroup(handlers.cgroupDriver, cgroupParent)
  return {
    pid: infra?.init?.pid ?? 0,
    processStatus: sandboxes.isReady(id) ? 'running' : 'deleted',
    netNamespacePath: networkPath,
    netNamespaceClosed: networkPath !== '' && !isNamespacePinned(networkPath),
    // The pause program is ours and no image; a pod that shares no PIDs has none.
    image: '',
    snapshotKey: id,
    snapshotter: 'overlay',
    runtimeHandler,
    runtimeType: handlers.of(runtimeHandler).runc.binary,
    runtimeOptions: null,
    config,
    runtimeSpec: (infra && (await containers.spec(infra.id))) ?? specOf(facts, record, cgroupsPath),
    cniResult: network ?? null,
    sandboxMetadata: {
      ID: id,
      Name: sandboxName(record.config),
      Config: config,
      NetNSPath: networkPath,
      ...addressesOf(record),
      RuntimeHandler: runtimeHandler,
      CNIResult: network ?? null,
    },
  }
}

/** What a pod without a process of its own is, in the words of the OCI runtime specification. */
function specOf(
  { hostname, networkPath, ipcPath, utsPath, userNamespace }: SandboxFacts,
  { config: { annotations } }: Readonly<SandboxRecord>,
  cgroupsPath: string,
): object {
  const paths = { network: networkPath, ipc: ipcPath, uts: utsPath, user: userNamespace?.path }
  const namespaces = Object.entries(paths).flatMap(([type, path]) => (path === undefined ? [] : [{ type, path }]))
  return { hostname, annotations, linux: { cgroupsPath, namespaces } }
}

function addressesOf({ network }: Readonly<SandboxRecord>): object {
  const { ip, additionalIps } = networkStatusOf(network)
  return { IP: ip, AdditionalIPs: additionalIps.map((one) => one.ip) }
}
