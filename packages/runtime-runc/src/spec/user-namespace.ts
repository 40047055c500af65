// The user namespace of a pod: what is asked for, and whose ids it has.
import { NamespaceMode } from '@nodelet/cri-api'
import type { NamespaceOption } from '@nodelet/cri-api'
import { sameIdMappings } from '@nodelet/linux'
import type { IdMapping, IdMappings } from '@nodelet/linux'
import { SpecError } from './errors.ts'
import type { OciIdMapping } from './oci.ts'

/** A pod's user namespace: pinned, with one line of users and one of groups. */
export interface UserNamespaceFacts extends IdMappings {
  path: string
}

/** Ids are 32 bits, and the last is none. */
const HIGHEST_ID = 0xffff_fffe
const modeNames: Readonly<Record<number, string>> = { 1: 'CONTAINER', 3: 'TARGET' }

/**
 * The mappings that a pod asks for; undefined for one in the node's user namespace.
 *
 * @throws SpecError for a mode or mappings that cannot be.
 */
export function askedIdMappings(options: NamespaceOption | undefined): IdMappings | undefined {
  const asked = options?.usernsOptions
  if (!asked) return undefined
  const { mode, uids, gids } = asked
  if (mode === NamespaceMode.NODE) {
    if (uids.length === 0 && gids.length === 0) return undefined
    throw new SpecError('user namespace mode NODE takes no id mappings: leave them out, or use mode POD')
  }
  if (mode !== NamespaceMode.POD) {
    throw new SpecError(`unsupported user namespace mode ${modeNames[mode] ?? mode}: use POD or NODE`)
  }
  checkLine('uid', uids)
  checkLine('gid', gids)
  if (options.pid === NamespaceMode.NODE || options.ipc === NamespaceMode.NODE) {
    const shared = options.pid === NamespaceMode.NODE ? 'PID' : 'IPC'
    throw new SpecError(`a pod with a user namespace cannot use the node's ${shared} namespace: it has no rights there`)
  }
  return { uids, gids }
}

/** @throws SpecError when the container's user namespace is not its pod's. */
export function assertPodsIdMappings(options: NamespaceOption | undefined, sandbox: IdMappings | undefined): void {
  const own = askedIdMappings(options)
  if (own === sandbox || (own && sandbox && sameIdMappings(own, sandbox))) return
  throw new SpecError("the container's user namespace differs from its sandbox's: give both the same mode and mappings")
}

/** What the id of a container is on the node; undefined when the namespace does not have it. */
export function hostId(lines: readonly IdMapping[], id: number): number | undefined {
  const line = lines.find(({ containerId, length }) => id >= containerId && id < containerId + length)
  return line && line.hostId + id - line.containerId
}

/** The owner, on the node, of what belongs to the pod's root. */
export function podRoot(user: IdMappings | undefined): { uid: number; gid: number } {
  return { uid: hostId(user?.uids ?? [], 0) ?? 0, gid: hostId(user?.gids ?? [], 0) ?? 0 }
}

export function ociIdMappings(lines: readonly IdMapping[]): OciIdMapping[] {
  return lines.map(({ containerId, hostId: first, length }) => ({
    containerID: containerId,
    hostID: first,
    size: length,
  }))
}

function checkLine(kind: 'uid' | 'gid', lines: readonly IdMapping[]): void {
  const [line] = lines
  if (line === undefined || lines.length > 1) {
    throw new SpecError(`a user namespace takes exactly one ${kind} mapping, not ${lines.length}`)
  }
  const { containerId, hostId: first, length } = line
  if (length < 1) throw new SpecError(`the ${kind} mapping has length ${length}: at least 1 is needed`)
  if (containerId !== 0)
    throw new SpecError(`the ${kind} mapping begins at ${containerId}: container id 0 must be mapped`)
  if (first + length - 1 > HIGHEST_ID) throw new SpecError(`the ${kind} mapping goes beyond id ${HIGHEST_ID}`)
}
