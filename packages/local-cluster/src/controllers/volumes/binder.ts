// Binds claims and volumes, and tells what becomes of both.
import { isNotFound, mergePatch, persistentVolumeClaims, persistentVolumes } from '@nodelet/kube-client'
import type { PersistentVolume, PersistentVolumeClaim, Pod } from 'kubernetes-types/core/v1.d.ts'
import { defaultClass } from '../../api/volumes.ts'
import type { Metadata } from '../../object.ts'
import type { ControllerContext } from '../caches.ts'
import { createRecorder, onlyOnce } from '../events.ts'
import { createQueue, keyOf, splitKey } from '../queue.ts'
import {
  boundClaim,
  boundStatus,
  boundVolume,
  decideClaim,
  decideVolume,
  provisionerNames,
  unboundVolume,
} from './binding.ts'
import type { Told } from './binding.ts'
import { classOf } from './match.ts'
import { claimsOf } from './pod-claims.ts'

export function startVolumeBinder({ client, caches, log }: ControllerContext): AsyncDisposable {
  const { persistentVolumes: volumes, persistentVolumeClaims: claims, storageClasses: classes, pods } = caches
  const record = onlyOnce(createRecorder(client, 'persistentvolume-controller', log))
  const tell = (claim: PersistentVolumeClaim, { type, reason, message }: Told): void =>
    record(claim, type, reason, message)
  const writeStatus = async (claim: PersistentVolumeClaim, status: PersistentVolumeClaim['status']): Promise<void> => {
    await client.update(persistentVolumeClaims, { ...claim, ...(status && { status }) }, { subresource: 'status' })
  }

  /** The volume first: a claim that is bound has a volume that knows it, whenever this ends. */
  const bind = async (claim: PersistentVolumeClaim, volume: PersistentVolume): Promise<void> => {
    const wantedVolume = boundVolume(volume, claim)
    if (wantedVolume) await client.update(persistentVolumes, wantedVolume)
    const wantedClaim = boundClaim(claim, volume)
    const bound = wantedClaim ? await client.update(persistentVolumeClaims, wantedClaim) : claim
    const status = boundStatus(bound, volume)
    if (status) await writeStatus(bound, status)
  }

  const syncClaim = async (claim: PersistentVolumeClaim): Promise<void> => {
    const { namespace = '', name = '', resourceVersion } = claim.metadata ?? {}
    const annotate = async (changes: object): Promise<void> =>
      void (await client.patch(persistentVolumeClaims, { namespace, name }, mergePatch(changes)))
    const all = classes.list()
    const step = decideClaim(claim, {
      volumes: volumes.list(),
      classes: all,
      pods: pods.list(),
      defaultClass: defaultClass(all as unknown as { metadata: Metadata }[]),
    })
    switch (step.kind) {
      case 'bind':
        return bind(claim, step.volume)
      case 'provision':
        tell(claim, step.told)
        if (provisionerNames.some((key) => claim.metadata?.annotations?.[key] !== step.provisioner)) {
          const annotations = Object.fromEntries(provisionerNames.map((key) => [key, step.provisioner]))
          await annotate({ metadata: { resourceVersion, annotations } })
        }
        return
      case 'classify':
        return annotate({ metadata: { resourceVersion }, spec: { storageClassName: step.name } })
      case 'lose': {
        const { capacity: _, accessModes: __, ...status } = claim.status ?? {}
        await writeStatus(claim, { ...status, phase: 'Lost' })
        return tell(claim, step.told)
      }
      case 'wait':
        if (step.told) tell(claim, step.told)
        return
      case 'nothing':
        return
      default:
        step satisfies never
    }
  }

  /** The claim that a volume names. A cache may be behind: who is gone is asked for. */
  const claimOf = async ({ spec }: PersistentVolume): Promise<PersistentVolumeClaim | undefined> => {
    const { namespace = '', name = '', uid } = spec?.claimRef ?? {}
    if (!uid) return undefined
    const known = claims.get({ namespace, name })
    if (known?.metadata?.uid === uid) return known
    try {
      const found = await client.get(persistentVolumeClaims, { namespace, name })
      return found.metadata?.uid === uid ? found : undefined
    } catch (error) {
      if (isNotFound(error)) return undefined
      throw error
    }
  }

  const syncVolume = async (volume: PersistentVolume): Promise<void> => {
    const step = decideVolume(volume, await claimOf(volume))
    switch (step.kind) {
      case 'phase': {
        const { message: _, ...before } = volume.status ?? {}
        const status = { ...before, phase: step.phase, ...(step.message !== undefined && { message: step.message }) }
        await client.update(persistentVolumes, { ...volume, status }, { subresource: 'status' })
        if (step.told) record(volume, step.told.type, step.told.reason, step.told.message)
        return
      }
      case 'unbind':
        await client.update(persistentVolumes, unboundVolume(volume))
        return
      case 'claim':
        queue.add(`${volume.spec?.claimRef?.namespace}/${volume.spec?.claimRef?.name}`)
        return
      case 'nothing':
        return
      default:
        step satisfies never
    }
  }

  const work = async (key: string): Promise<void> => {
    const { namespace, name } = splitKey(key)
    const volume = namespace === '' ? volumes.get({ name }) : undefined
    const claim = namespace === '' ? undefined : claims.get({ namespace, name })
    if (volume) await syncVolume(volume)
    if (claim) await syncClaim(claim)
  }
  const queue = createQueue('persistentvolume-binder', work, log)

  const unbound = (): PersistentVolumeClaim[] => claims.list().filter(({ status }) => status?.phase !== 'Bound')
  /** A volume came, or changed: its claim may be waiting for it, or others. */
  const volumeCame = (volume: PersistentVolume): void => {
    queue.add(keyOf(volume))
    const { namespace, name } = volume.spec?.claimRef ?? {}
    if (name !== undefined) queue.add(`${namespace}/${name}`)
    for (const claim of unbound()) {
      if (claim.spec?.volumeName === volume.metadata?.name || classOf(claim) === classOf(volume))
        queue.add(keyOf(claim))
    }
  }
  const claimChanged = (claim: PersistentVolumeClaim): void => {
    queue.add(keyOf(claim))
    if (claim.spec?.volumeName) queue.add(`/${claim.spec.volumeName}`)
  }
  const podCame = (pod: Pod): void =>
    claimsOf(pod).forEach(({ name }) => queue.add(`${pod.metadata?.namespace}/${name}`))
  const lookAgain = (): void => unbound().forEach((claim) => queue.add(keyOf(claim)))
  const stops = [
    volumes.subscribe({
      added: volumeCame,
      updated: volumeCame,
      deleted: ({ metadata, spec }) => {
        if (spec?.claimRef) queue.add(`${spec.claimRef.namespace}/${spec.claimRef.name}`)
        // A claim may name it that it never knew.
        for (const claim of claims.list()) if (claim.spec?.volumeName === metadata?.name) queue.add(keyOf(claim))
      },
    }),
    claims.subscribe({
      added: claimChanged,
      updated: claimChanged,
      deleted: (claim) => {
        for (const volume of volumes.list()) {
          if (volume.spec?.claimRef?.uid === claim.metadata?.uid) queue.add(keyOf(volume))
        }
      },
    }),
    classes.subscribe({ added: lookAgain, updated: lookAgain }),
    pods.subscribe({ added: podCame }),
  ]
  return {
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
