// Makes volumes larger when their claims ask for it.
import { CsiError } from '@nodelet/csi-node'
import { persistentVolumeClaims, persistentVolumes } from '@nodelet/kube-client'
import type { PersistentVolume, PersistentVolumeClaim } from 'kubernetes-types/core/v1.d.ts'
import { isLarger } from '../controllers/volumes/binding.ts'
import { createRecorder, onlyOnce } from '../controllers/events.ts'
import { createQueue, keyOf, splitKey } from '../controllers/queue.ts'
import { quantity } from '../kinds/quantity.ts'
import { timeNow } from '../object.ts'
import { type CsiContext, readSecretsOf, untilStopped } from './context.ts'
import { capabilitiesFor, sizeText } from './provision.ts'

type ClaimStatus = NonNullable<PersistentVolumeClaim['status']>
type Condition = NonNullable<ClaimStatus['conditions']>[number]

const notNeeded = 'volume.kubernetes.io/node-expansion-not-required'
const nodeText = 'Waiting for user to (re-)start a pod to finish file system resize of volume on node.'

/** Where an expansion is. Pure. */
export type Expansion = 'nothing' | 'controller' | 'infeasible'

/** What is to be done for a claim that is bound to the volume. */
export function expansionOf({ spec, status, metadata }: PersistentVolumeClaim, volume: PersistentVolume): Expansion {
  const wanted = spec?.resources?.requests?.storage
  if (status?.phase !== 'Bound' || metadata?.deletionTimestamp || !volume.spec?.csi) return 'nothing'
  if (!isLarger(wanted, status.capacity?.storage)) return 'nothing'
  const state = status.allocatedResourceStatuses?.storage
  const isSame = quantity(status.allocatedResources?.storage ?? '0') === quantity(wanted)
  if (isSame && state?.endsWith('Infeasible')) return 'infeasible'
  // The rest is the node's.
  return isSame && state?.startsWith('Node') && !isLarger(wanted, volume.spec.capacity?.storage)
    ? 'nothing'
    : 'controller'
}

/**
 * Whether an update of a claim is a reason to look at it at once. What is told of a failure is none: its next try waits. Pure.
 */
export function isNewExpansion(now: PersistentVolumeClaim, before: PersistentVolumeClaim): boolean {
  const [what, was] = [now, before].map(({ spec, status, metadata }) =>
    JSON.stringify([
      spec?.resources?.requests?.storage,
      spec?.volumeName,
      status?.phase,
      status?.capacity?.storage,
      status?.allocatedResources?.storage,
      status?.allocatedResourceStatuses?.storage,
      metadata?.deletionTimestamp,
    ]),
  )
  return what !== was
}

/** The claim's status in one state of an expansion. Pure. @param condition the one that is true meanwhile */
export function expandingStatus(
  status: ClaimStatus,
  storage: string,
  state: string,
  condition: { type: string; message?: string } | undefined,
): ClaimStatus {
  const ours = ['Resizing', 'FileSystemResizePending', 'ControllerResizeError']
  const others = (status.conditions ?? []).filter(({ type }) => !ours.includes(type))
  const own: Condition[] = condition
    ? [{ ...condition, status: 'True', lastProbeTime: null as unknown as string, lastTransitionTime: timeNow() }]
    : []
  return {
    ...status,
    allocatedResources: { ...status.allocatedResources, storage },
    allocatedResourceStatuses: { ...status.allocatedResourceStatuses, storage: state },
    conditions: [...others, ...own],
  }
}

/** The claim's status when it is done. Pure. */
export function expandedStatus(status: ClaimStatus, storage: string): ClaimStatus {
  const { storage: _, ...states } = status.allocatedResourceStatuses ?? {}
  const { allocatedResourceStatuses: __, conditions, ...rest } = expandingStatus(status, storage, '', undefined)
  return {
    ...rest,
    capacity: { ...status.capacity, storage },
    ...(Object.keys(states).length > 0 && { allocatedResourceStatuses: states }),
    ...(conditions && conditions.length > 0 && { conditions }),
  }
}

const infeasible: ReadonlySet<string> = new Set(['INVALID_ARGUMENT', 'OUT_OF_RANGE', 'NOT_FOUND'])

export function startResizer({ client, caches, drivers, log }: CsiContext): AsyncDisposable {
  const { persistentVolumes: volumes, persistentVolumeClaims: claims } = caches
  const { record } = createRecorder(client, 'external-resizer', log)
  const recordOnce = onlyOnce({ record })
  const { signal, stop } = untilStopped()
  const readSecret = readSecretsOf(client)

  const writeStatus = async (claim: PersistentVolumeClaim, status: ClaimStatus): Promise<PersistentVolumeClaim> =>
    client.update(persistentVolumeClaims, { ...claim, status }, { subresource: 'status' })

  const work = async (key: string): Promise<void> => {
    const claim = claims.get(splitKey(key))
    const volume = claim?.spec?.volumeName === undefined ? undefined : volumes.get({ name: claim.spec.volumeName })
    const csi = volume?.spec?.csi
    if (!claim || !volume || !csi || expansionOf(claim, volume) !== 'controller') return
    const driver = await drivers(csi.driver, signal)
    if (!driver) return
    const wanted = claim.spec?.resources?.requests?.storage ?? ''
    const name = volume.metadata?.name ?? ''
    recordOnce(claim, 'Normal', 'Resizing', `External resizer is resizing volume ${name}`)
    const began = expandingStatus(claim.status ?? {}, wanted, 'ControllerResizeInProgress', { type: 'Resizing' })
    const resizing = await writeStatus(claim, began)
    try {
      // A driver that does not expand in its controller expands on the node.
      let [bytes, isNodes] = [quantity(wanted), true]
      if (driver.can.expand && isLarger(wanted, volume.spec?.capacity?.storage)) {
        const [capability] = capabilitiesFor(volume.spec ?? {}, driver, {
          fsType: csi.fsType ?? '',
          mountFlags: volume.spec?.mountOptions ?? [],
        })
        const { name: secretName, namespace: secretNamespace } = csi.controllerExpandSecretRef ?? {}
        const secrets =
          secretName && secretNamespace ? await readSecret({ name: secretName, namespace: secretNamespace }) : undefined
        const request = { volumeId: csi.volumeHandle, requiredBytes: Math.ceil(bytes), capability, secrets }
        const answer = await driver.controller.expandVolume(request, signal)
        ;[bytes, isNodes] = [answer.capacityBytes, answer.nodeExpansionRequired]
      }
      if (isLarger(sizeText(bytes), volume.spec?.capacity?.storage)) {
        const spec = { ...volume.spec, capacity: { ...volume.spec?.capacity, storage: sizeText(bytes) } }
        await client.update(persistentVolumes, { ...volume, spec })
      }
      if (isNodes) {
        const condition = { type: 'FileSystemResizePending', message: nodeText }
        await writeStatus(resizing, expandingStatus(resizing.status ?? {}, wanted, 'NodeResizePending', condition))
        record(claim, 'Normal', 'FileSystemResizeRequired', 'Require file system resize of volume on node')
        return
      }
      const annotations = { ...resizing.metadata?.annotations, [notNeeded]: 'true' }
      const marked = await client.update(persistentVolumeClaims, {
        ...resizing,
        metadata: { ...resizing.metadata, annotations },
      })
      await writeStatus(marked, expandedStatus(marked.status ?? {}, sizeText(bytes)))
      record(claim, 'Normal', 'VolumeResizeSuccessful', 'Resize volume succeeded')
    } catch (error) {
      if (signal.aborted || !(error instanceof CsiError)) throw error
      const message = `resize volume "${name}" by resizer "${csi.driver}" failed: ${error.message}`
      recordOnce(claim, 'Warning', 'VolumeResizeFailed', message)
      const isFinal = infeasible.has(error.code)
      const state = isFinal ? 'ControllerResizeInfeasible' : 'ControllerResizeInProgress'
      const condition = { type: isFinal ? 'ControllerResizeError' : 'Resizing', message: error.message }
      await writeStatus(resizing, expandingStatus(resizing.status ?? {}, wanted, state, condition))
      if (!isFinal) throw error
    }
  }
  const queue = createQueue('csi-resizer', work, log)
  const add = (claim: PersistentVolumeClaim): void => queue.add(keyOf(claim))
  const again = (): void => claims.list().forEach(add)
  const stops = [
    claims.subscribe({ added: add, updated: (now, before) => isNewExpansion(now, before) && add(now) }),
    caches.csiNodes.subscribe({ added: again, updated: again }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const end of stops) end()
      stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
