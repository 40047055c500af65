// Rules for iSCSI volumes. Pure.
import type { ISCSIVolumeSource } from 'kubernetes-types/core/v1.d.ts'
import { type FieldErrors, invalid, required } from '../field-error.ts'
import { inRange } from '../values.ts'

const names: Readonly<Record<string, RegExp>> = {
  iqn: /^iqn\.\d{4}-\d{2}\.[A-Za-z0-9.-]+(:[^,;*&$|\s]+)$/,
  eui: /^eui\.[A-Za-z0-9]{16}$/,
  naa: /^naa\.[A-Za-z0-9]{32}$/,
}

function* nameErrors(field: string, name: string): FieldErrors {
  const format = names[name.slice(0, 3)]
  if (!format) yield invalid(field, name, 'must be valid format starting with iqn, eui, or naa')
  else if (!format.test(name)) yield invalid(field, name, 'must be valid format')
}

/** Both together are a name in the file system. */
const mostNameAndPortal = 64

/** @param path of the volume */
export function* iscsiErrors(source: ISCSIVolumeSource, volumeName: string, path: string): FieldErrors {
  const { targetPortal, iqn, lun, chapAuthDiscovery, chapAuthSession, secretRef, initiatorName } = source
  const at = `${path}.iscsi`
  if (!targetPortal) yield required(`${at}.targetPortal`)
  if (iqn) yield* nameErrors(`${at}.iqn`, iqn)
  else yield required(`${at}.iqn`)
  yield* inRange(`${at}.lun`, lun, 0, 255)
  if ((chapAuthDiscovery || chapAuthSession) && !secretRef) yield required(`${at}.secretRef`)
  if (initiatorName === undefined) return
  yield* nameErrors(`${at}.initiatorName`, initiatorName)
  if (`${volumeName}:${targetPortal}`.length > mostNameAndPortal) {
    const detail = `Total length of <volume name>:<iscsi.targetPortal> must be under ${mostNameAndPortal} characters if iscsi.initiatorName is specified.`
    yield invalid(`${path}.name`, volumeName, detail)
  }
}
