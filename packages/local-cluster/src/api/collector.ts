// Deletes what lost its owners, and the contents of namespaces that end.
import { kinds, kindOf, storeName } from '../kinds/kinds.ts'
import type { Kind } from '../kinds/kinds.ts'
import type { ApiObject } from '../object.ts'
import type { Change, Store } from '../store.ts'
import type { Resources } from './resources.ts'

const stored: Kind[] = kinds.filter(({ verbs }) => verbs.includes('list'))

/** Works on changes until disposed; looks at everything once, for what a crash left. */
export function startCollector(store: Store, resources: Resources): Disposable {
  const byUid = new Set<string>()
  for (const kind of stored) for (const { metadata } of store.list(storeName(kind))) byUid.add(metadata.uid ?? '')

  const remove = (kind: Kind, { metadata: { namespace, name } }: ApiObject): void =>
    void resources.remove({ kind, namespace, name }, {})

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
      if (kind.resource === 'namespaces' && object.metadata.deletionTimestamp) setImmediate(endNamespaces)
      if (type === 'ADDED' && isOrphan(object)) setImmediate(() => collectOne(kind, object))
      return
    }
    byUid.delete(uid)
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
  for (const kind of stored)
    for (const object of store.list(storeName(kind))) if (isOrphan(object)) collectOne(kind, object)
  endNamespaces()
  return { [Symbol.dispose]: () => stops.forEach((stop) => stop()) }
}
