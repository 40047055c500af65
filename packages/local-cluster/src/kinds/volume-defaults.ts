// What the API server fills in of volumes, claims, classes and drivers. Each function changes the object it is given.
import { fieldsAt, isFields } from '../object.ts'
import type { Fields } from '../object.ts'

function fill(target: Fields, values: Fields): void {
  for (const [key, value] of Object.entries(values)) target[key] ??= value
}

/** Does nothing to other kinds. */
export function applyVolumeDefaults(resource: string, object: Fields): void {
  switch (resource) {
    case 'persistentvolumes': {
      const spec = fieldsAt(object, 'spec')
      fill(spec, { persistentVolumeReclaimPolicy: 'Retain', volumeMode: 'Filesystem' })
      if (isFields(spec.hostPath)) fill(spec.hostPath, { type: '' })
      fill(fieldsAt(object, 'status'), { phase: 'Pending' })
      break
    }
    case 'persistentvolumeclaims':
      defaultClaim(fieldsAt(object, 'spec'))
      fill(fieldsAt(object, 'status'), { phase: 'Pending' })
      break
    case 'storageclasses':
      fill(object, { reclaimPolicy: 'Delete', volumeBindingMode: 'Immediate' })
      break
    case 'csidrivers':
      fill(fieldsAt(object, 'spec'), {
        attachRequired: true,
        podInfoOnMount: false,
        volumeLifecycleModes: ['Persistent'],
        storageCapacity: false,
        fsGroupPolicy: 'ReadWriteOnceWithFSType',
        requiresRepublish: false,
        seLinuxMount: false,
      })
      break
    case 'csinodes':
      // Clients find the list in every answer, empty or not.
      fieldsAt(object, 'spec').drivers ??= null
      break
    case 'volumeattachments':
      fill(fieldsAt(object, 'status'), { attached: false })
      break
    default:
  }
}

/** Of a claim, or of the one that a pod's ephemeral volume is to have. */
export function defaultClaim(spec: Fields): void {
  fill(spec, { volumeMode: 'Filesystem' })
  fieldsAt(spec, 'resources')
}
