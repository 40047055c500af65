// Which namespaces a pod's containers share. Pure.
import { type IDMapping, type NamespaceOption, NamespaceMode, type UserNamespace } from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'

/** What the pod asks of user namespaces; `ids` are those of one that has its own. */
export function userNamespaceOf({ spec }: Pod, ids: IDMapping | undefined): UserNamespace | undefined {
  if (ids) return { mode: NamespaceMode.POD, uids: [ids], gids: [ids] }
  return spec?.hostUsers === true ? { mode: NamespaceMode.NODE, uids: [], gids: [] } : undefined
}

/** @param targetId for an ephemeral container that looks into another's processes */
export function namespaceOptions(pod: Pod, targetId = '', ids?: IDMapping): NamespaceOption {
  const { hostNetwork, hostIPC, hostPID, shareProcessNamespace } = pod.spec ?? {}
  const { NODE, POD, CONTAINER, TARGET } = NamespaceMode
  const ownPid = shareProcessNamespace ? POD : CONTAINER
  return {
    network: hostNetwork ? NODE : POD,
    ipc: hostIPC ? NODE : POD,
    pid: targetId ? TARGET : hostPID ? NODE : ownPid,
    targetId,
    usernsOptions: userNamespaceOf(pod, ids),
  }
}
