// Whose an object is: owners take what matches and is nobody's, and let go of what no longer matches.
import { isNotFound, mergePatch } from '@nodelet/kube-client'
import type { KubeClient, KubeObject, Resource } from '@nodelet/kube-client'
import type { OwnerReference } from 'kubernetes-types/meta/v1.d.ts'

/** The owner that manages an object. */
export const controllerOf = ({ metadata }: Pick<KubeObject, 'metadata'>): OwnerReference | undefined =>
  metadata?.ownerReferences?.find(({ controller }) => controller === true)

/** The reference of one that manages what it makes. */
export const ownedBy = (apiVersion: string, kind: string, { metadata }: KubeObject): OwnerReference => ({
  apiVersion,
  kind,
  name: metadata?.name ?? '',
  uid: metadata?.uid ?? '',
  controller: true,
  blockOwnerDeletion: true,
})

export interface Claim<T extends KubeObject> {
  client: KubeClient
  resource: Resource<T>
  /** What is looked through; those of other namespaces too. */
  objects: readonly T[]
  owner: KubeObject
  reference: OwnerReference
  matches(object: T): boolean
  /** Which of those that match may be taken. Default: all. */
  mayAdopt?(object: T): boolean
}

/** Answers the owner's objects. One that is deleted takes nothing and lets nothing go. */
export async function claim<T extends KubeObject>(of: Claim<T>): Promise<T[]> {
  const { client, resource, objects, owner, reference, matches, mayAdopt = () => true } = of
  const namespace = owner.metadata?.namespace ?? ''
  const reown = async ({ metadata }: T, ownerReferences: OwnerReference[]): Promise<T | undefined> => {
    const patch = mergePatch({ metadata: { uid: metadata?.uid, ownerReferences } })
    return client.patch(resource, { namespace, name: metadata?.name ?? '' }, patch).catch((error: unknown) => {
      if (!isNotFound(error)) throw error
      return undefined
    })
  }
  const mine: T[] = []
  for (const object of objects) {
    if (object.metadata?.namespace !== namespace) continue
    const present = controllerOf(object)
    const owners = object.metadata.ownerReferences ?? []
    if (present && present.uid !== reference.uid) continue
    const isMatch = matches(object)
    if (present && isMatch) mine.push(object)
    else if (owner.metadata?.deletionTimestamp || object.metadata.deletionTimestamp) continue
    else if (present) {
      await reown(
        object,
        owners.filter(({ uid }) => uid !== reference.uid),
      )
    } else if (isMatch && mayAdopt(object)) {
      const adopted = await reown(object, [...owners.filter(({ uid }) => uid !== reference.uid), reference])
      if (adopted) mine.push(adopted)
    }
  }
  return mine
}
