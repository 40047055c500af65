// Deletes what lost its owners, lets go or awaits what is owned by who is deleted, empties namespaces that end.
import { kinds, kindOf, storeName } from '../kinds/kinds.ts'
import type { Kind } from '../kinds/kinds.ts'
import type { ApiObject } from '../object.ts'
import type { Change, Store } from '../store.ts'
import { foregroundFinalizer, orphanFinalizer } from './propagation.ts'
import type { Resources, Target } from './resources.ts'

const stored: Kind[] = kinds.filter(({ verbs }) => verbs.includes('list'))

/** Works on changes until disposed; looks at everything once, for what a crash left. */
export function startCollector(store: Store, resources: Resources): Disposable {
  const byUid = new Set<string>()
  for (const kind of stored) for (const { metadata } of store.list(storeName(kind))) byUid.add(metadata.uid ?? '')

  /** Owners that wait for what they own, by UID. */
  const waiting = new Map<string, Target>()

  const targetOf = (kind: Kind, { metadata: { namespace, name } }: ApiObject): Target => ({ kind, namespace, name })
  const remove = (kind: Kind, object: ApiObject): void => void resources.remove(targetOf(kind, object), {})

  const ownedBy = (uid: string): { kind: Kind; object: ApiObject }[] =>
    stored.flatMap((kind) =>
      store
        .list(storeName(kind))
        .filter(({ metadata }) => metadata.ownerReferences?.some((one) => one.uid === uid))
        .map((object) => ({ kind, object })),
    )

  const letGo = (kind: Kind, object: ApiObject, owner: string): void =>
    void resources.edit(targetOf(kind, object), ({ metadata }) => {
      const others = (metadata.ownerReferences ?? []).filter(({ uid }) => uid !== owner)
      if (others.length > 0) metadata.ownerReferences = others
      else delete metadata.ownerReferences
    })

  /** Deletes what is owned; true when nothing is left that the owner must wait for. */
  const endOwned = (owner: string): boolean => {
    for (const { kind, object } of ownedBy(owner)) {
      const { deletionTimestamp, ownerReferences = [], uid = '' } = object.metadata
      if (ownerReferences.some((one) => byUid.has(one.uid) && !waiting.has(one.uid))) letGo(kind, object, owner)
      else if (!deletionTimestamp) {
        const wishes = ownedBy(uid).length > 0 ? { propagationPolicy: 'Foreground' } : {}
        resources.remove(targetOf(kind, object), wishes)
      }
    }
    return !ownedBy(owner).some(({ object: { metadata } }) =>
      metadata.ownerReferences?.some(({ uid, blockOwnerDeletion }) => uid === owner && blockOwnerDeletion === true),
    )
  }

  const settle = (owner: string): void => {
    const target = waiting.get(owner)
    const object = target && store.get(storeName(target.kind), target.namespace ?? '', target.name)
    if (!target || object?.metadata.uid !== owner) return
    const { finalizers = [], deletionGracePeriodSeconds = 0 } = object.metadata
    const isOrphaning = finalizers.includes(orphanFinalizer)
    if (isOrphaning) for (const owned of ownedBy(owner)) letGo(owned.kind, owned.object, owner)
    else if (!endOwned(owner)) return
    const done = isOrphaning ? orphanFinalizer : foregroundFinalizer
    resources.edit(target, ({ metadata }) => void (metadata.finalizers = finalizers.filter((one) => one !== done)))
    resources.remove(target, { gracePeriodSeconds: deletionGracePeriodSeconds })
  }

  /** Notes who is deleted and waits. */
  const noteWaiting = (kind: Kind, object: ApiObject): void => {
    const { deletionTimestamp, finalizers = [], uid = '' } = object.metadata
    if (!deletionTimestamp || !finalizers.some((one) => one === orphanFinalizer || one === foregroundFinalizer)) {
      waiting.delete(uid)
    } else if (!waiting.has(uid)) {
      waiting.set(uid, targetOf(kind, object))
      setImmediate(() => settle(uid))
    }
  }

  const isOrphan = ({ metadata: { ownerReferences = [] } }: ApiObject): boolean =>
    ownerReferences.length > 0 && ownerReferences.every(({ uid }) => !byUid.has(uid))

  /** Ends with the namespace itself when nothing is left in it. */
  const endNamespace = (namespace: ApiObject): void => {
    const { name } = namespace.metadata
    let left = 0
    for (const kind of stored.filter(({ namespaced }) => namespaced)) {
      for (const object of store.list(storeName(kind), name)) {
        if (!object.metadata.deletionTimestamp) remove(kind, object)
        if (store.get(storeName(kind), name, object.metadata.name)) left += 1
      }
    }
    if (left > 0 || !store.get('namespaces', '', name)) return
    const target = { kind: kindOf('namespaces'), name }
    resources.edit(target, (copy) => void (copy.spec = {}))
    remove(target.kind, namespace)
  }
  const endNamespaces = (): void => {
    for (const namespace of store.list('namespaces')) if (namespace.metadata.deletionTimestamp) endNamespace(namespace)
  }

  const collect = (owner: string): void => {
    for (const kind of stored) {
      for (const object of store.list(storeName(kind))) {
        const isOwned = object.metadata.ownerReferences?.some(({ uid }) => uid === owner)
        if (isOwned && isOrphan(object) && !object.metadata.deletionTimestamp) remove(kind, object)
      }
    }
  }

  const changed = (kind: Kind, { type, object }: Change): void => {
    const uid = object.metadata.uid ?? ''
    if (type !== 'DELETED') {
      byUid.add(uid)
      noteWaiting(kind, object)
      if (kind.resource === 'namespaces' && object.metadata.deletionTimestamp) setImmediate(endNamespaces)
      if (type === 'ADDED' && isOrphan(object)) setImmediate(() => collectOne(kind, object))
      return
    }
    byUid.delete(uid)
    waiting.delete(uid)
    for (const owner of object.metadata.ownerReferences ?? []) {
      if (waiting.has(owner.uid)) setImmediate(() => settle(owner.uid))
    }
    // After the answer to whoever deleted the owner.
    setImmediate(() => {
      collect(uid)
      if (kind.namespaced) endNamespaces()
    })
  }
  const collectOne = (kind: Kind, { metadata: { namespace = '', name } }: ApiObject): void => {
    const object = store.get(storeName(kind), namespace, name)
    if (object && isOrphan(object)) remove(kind, object)
  }

  const stops = stored.map((kind) => store.subscribe(storeName(kind), (change) => changed(kind, change)))
  for (const kind of stored) {
    for (const object of store.list(storeName(kind))) {
      noteWaiting(kind, object)
      if (isOrphan(object)) collectOne(kind, object)
    }
  }
  endNamespaces()
  return { [Symbol.dispose]: () => stops.forEach((stop) => stop()) }
}
