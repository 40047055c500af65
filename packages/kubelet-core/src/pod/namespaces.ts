// Which namespaces a pod's containers share. Pure.
import { type NamespaceOption, NamespaceMode } from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'

/** @param targetId for an ephemeral container that looks into another's processes */
export function namespaceOptions(pod: Pod, targetId = ''): NamespaceOption {
  const { hostNetwork, hostIPC, hostPID, shareProcessNamespace } = pod.spec ?? {}
  const { NODE, POD, CONTAINER, TARGET } = NamespaceMode
  const ownPid = shareProcessNamespace ? POD : CONTAINER
  return {
    network: hostNetwork ? NODE : POD,
    ipc: hostIPC ? NODE : POD,
    pid: targetId ? TARGET : hostPID ? NODE : ownPid,
    targetId,
  }
}
