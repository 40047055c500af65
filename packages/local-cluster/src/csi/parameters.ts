// What the parameters of a StorageClass say to a provisioner, and what to the driver. Pure.
import type { PersistentVolumeClaim, SecretReference } from 'kubernetes-types/core/v1.d.ts'

const reserved = 'csi.storage.k8s.io/'
/** Of what each secret is for: the parameters `PREFIX-name` and `PREFIX-namespace`, and the field of the PersistentVolume. */
const secretKinds = {
  'provisioner-secret': 'provisioner',
  'controller-publish-secret': 'controllerPublish',
  'controller-expand-secret': 'controllerExpand',
  'node-stage-secret': 'nodeStage',
  'node-publish-secret': 'nodePublish',
  'node-expand-secret': 'nodeExpand',
} as const

export type SecretKind = (typeof secretKinds)[keyof typeof secretKinds]

export interface ClassParameters {
  /** For the driver. */
  parameters: Record<string, string>
  /** Empty: the driver's choice. */
  fsType: string
  secrets: Partial<Record<SecretKind, Required<SecretReference>>>
}

/** @throws Error naming the parameter */
export function parseParameters(
  given: Readonly<Record<string, string>>,
  volumeName: string,
  claim: PersistentVolumeClaim,
): ClassParameters {
  const own = Object.entries(given).filter(([key]) => !key.startsWith(reserved))
  const ours = new Map(
    Object.entries(given).flatMap(([key, value]) =>
      key.startsWith(reserved) ? [[key.slice(reserved.length), value]] : [],
    ),
  )
  const secrets: ClassParameters['secrets'] = {}
  for (const [prefix, kind] of Object.entries(secretKinds)) {
    const [name, namespace] = [ours.get(`${prefix}-name`), ours.get(`${prefix}-namespace`)]
    ours.delete(`${prefix}-name`)
    ours.delete(`${prefix}-namespace`)
    if (name === undefined && namespace === undefined) continue
    if (!name || !namespace)
      throw new Error(`only one of ${prefix}-name and ${prefix}-namespace is given: both are needed`)
    const fill = (text: string, isName: boolean): string => template(text, volumeName, claim, isName, kind)
    secrets[kind] = { name: fill(name, true), namespace: fill(namespace, false) }
  }
  const fsType = ours.get('fstype') ?? ''
  ours.delete('fstype')
  const [unknown] = ours.keys()
  if (unknown !== undefined) {
    throw new Error(`found unknown parameter key "${reserved}${unknown}" with reserved namespace ${reserved}`)
  }
  return { parameters: Object.fromEntries(own), fsType, secrets }
}

/** `${pv.name}`, `${pvc.namespace}`; in names also `${pvc.name}` and, but for the provisioner's, `${pvc.annotations['KEY']}`. */
function template(
  text: string,
  volumeName: string,
  claim: PersistentVolumeClaim,
  isName: boolean,
  kind: SecretKind,
): string {
  const { name = '', namespace = '', annotations = {} } = claim.metadata ?? {}
  const result = text.replace(/\$\{([^}]*)\}/g, (whole, key: string) => {
    if (key === 'pv.name') return volumeName
    if (key === 'pvc.namespace') return namespace
    if (key === 'pvc.name' && isName) return name
    const annotation = isName && kind !== 'provisioner' ? /^pvc\.annotations\['([^']+)'\]$/.exec(key)?.[1] : undefined
    const value = annotation === undefined ? undefined : annotations[annotation]
    if (value === undefined) throw new Error(`${JSON.stringify(text)}: nothing is known for ${whole}`)
    return value
  })
  if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(result)) {
    throw new Error(
      `${JSON.stringify(text)} resolved to ${JSON.stringify(result)} which is not a valid ${isName ? 'secret' : 'namespace'} name`,
    )
  }
  return result
}
