// Disks that iSCSI or Fibre Channel bring to the node: what they are called, and where they are kept, as in the Go kubelet. Pure.
import { isIPv6 } from 'node:net'
import { join } from 'node:path'
import type { FCVolumeSource, ISCSIPersistentVolumeSource, ISCSIVolumeSource } from 'kubernetes-types/core/v1.d.ts'

/** A logical unit of an iSCSI target. */
export interface IscsiTarget {
  kind: 'iscsi'
  /** `HOST:PORT`; the first gives the folder its name. */
  portals: readonly [string, ...string[]]
  iqn: string
  lun: number
  /** What iscsiadm calls the way there. */
  iface: string
  /** Empty: the node's own. With one, the way is a copy of `iface` made for this volume. */
  initiatorName: string
  /** Of the PersistentVolume, or of the pod's volume. */
  volume: string
  discoveryChap: boolean
  sessionChap: boolean
}

/** A disk of a Fibre Channel network: a logical unit of ports, or a disk by its own identifiers. */
export interface FcTarget {
  kind: 'fc'
  wwns: readonly string[]
  lun: number
  wwids: readonly string[]
}

export type ScsiTarget = IscsiTarget | FcTarget

const usualPort = 3260

/** @param volume of the PersistentVolume, or of the pod's volume @throws Error naming the field and its value */
export function iscsiTarget(
  source: Partial<ISCSIVolumeSource | ISCSIPersistentVolumeSource>,
  volume: string,
): IscsiTarget {
  const { targetPortal = '', portals = [], iqn = '', lun = 0, iscsiInterface = 'default', initiatorName = '' } = source
  const target: IscsiTarget = {
    kind: 'iscsi',
    portals: [withPort(targetPortal), ...portals.map(withPort)],
    iqn,
    lun,
    iface: iscsiInterface || 'default',
    initiatorName,
    volume,
    discoveryChap: source.chapAuthDiscovery ?? false,
    sessionChap: source.chapAuthSession ?? false,
  }
  for (const portal of target.portals) checkName('iscsi.targetPortal', portal)
  checkName('iscsi.iqn', iqn)
  if (!/^(iqn|eui|naa)\./.test(iqn))
    throw new Error(`iscsi.iqn ${JSON.stringify(iqn)}: it begins with iqn., eui. or naa.`)
  checkName('iscsi.iscsiInterface', target.iface)
  if (initiatorName !== '') checkName('iscsi.initiatorName', initiatorName)
  checkLun('iscsi.lun', lun)
  return target
}

function withPort(portal: string): string {
  if (isIPv6(portal)) return `[${portal}]:${usualPort}`
  return portal.includes(':') ? portal : `${portal}:${usualPort}`
}

/** @throws Error naming the field and its value */
export function fcTarget({ targetWWNs = [], lun, wwids = [] }: FCVolumeSource): FcTarget {
  const isByPort = targetWWNs.length > 0 && lun !== undefined
  if (!isByPort && wwids.length === 0) throw new Error('fc: no fc disk information found. failed to make a new mounter')
  const target: FcTarget = {
    kind: 'fc',
    wwns: isByPort ? targetWWNs : [],
    lun: isByPort ? lun : 0,
    // As links to disks have them.
    wwids: isByPort ? [] : wwids.map((wwid) => wwid.replaceAll(' ', '_')),
  }
  for (const wwn of target.wwns) checkName('fc.targetWWNs', wwn)
  for (const wwid of target.wwids) checkName('fc.wwids', wwid)
  checkLun('fc.lun', target.lun)
  return target
}

/** What becomes a word of a program and the name of a folder. @throws Error */
function checkName(field: string, value: string): void {
  if (value.length <= 223 && /^[A-Za-z0-9[][-A-Za-z0-9.:_,[\]]*$/.test(value)) return
  throw new Error(`${field} ${JSON.stringify(value)}: letters, digits and - . : _ are expected, 223 at most`)
}

function checkLun(field: string, lun: number): void {
  if (!Number.isInteger(lun) || lun < 0 || lun > 255) throw new Error(`${field} ${lun}: 0 to 255 is expected`)
}

/** What iscsiadm calls the way that this volume takes. */
export const wayOf = ({ iface, initiatorName, portals, volume }: IscsiTarget): string =>
  initiatorName === '' ? iface : `${portals[0]}:${volume}`

/** Where a disk is kept, below `plugins/kubernetes.io`. */
export function folderOf(target: ScsiTarget, volumeMode: 'Filesystem' | 'Block'): string {
  const top = volumeMode === 'Block' ? join(target.kind, 'volumeDevices') : target.kind
  if (target.kind === 'fc') {
    const { wwns, wwids, lun } = target
    return join(top, wwns.length > 0 ? `${wwns.join('-')}-lun-${lun}` : wwids.join('-'))
  }
  return join(top, `iface-${wayOf(target)}`, `${target.portals[0]}-${target.iqn}-lun-${target.lun}`)
}

/** What a folder says of its disk; undefined: nothing. @param names below that of the kind and, for devices, of `volumeDevices` */
export function iscsiOfFolder(...names: readonly string[]): IscsiTarget | undefined {
  const [way = '', disk = ''] = names
  const found = /^(?<portal>.+?)-(?<iqn>(iqn|eui|naa)\..+)-lun-(?<lun>\d+)$/.exec(disk)?.groups
  if (!found || !way.startsWith('iface-')) return undefined
  return {
    kind: 'iscsi',
    portals: [found['portal'] ?? ''],
    iqn: found['iqn'] ?? '',
    lun: Number(found['lun']),
    iface: way.slice('iface-'.length),
    initiatorName: '',
    volume: '',
    discoveryChap: false,
    sessionChap: false,
  }
}

/** What a folder says of its disk. */
export function fcOfFolder(disk: string): FcTarget {
  const [wwns, lun] = disk.split(/-lun-(?=\d+$)/)
  if (lun !== undefined) return { kind: 'fc', wwns: wwns?.split('-') ?? [], lun: Number(lun), wwids: [] }
  return { kind: 'fc', wwns: [], lun: 0, wwids: disk.split('-') }
}

/**
 * As node.status.volumesInUse and volumesAttached name a volume.
 * @param targetPortal as the volume's source has it
 */
export function attachNameOf(target: ScsiTarget, targetPortal?: string): string {
  if (target.kind === 'iscsi')
    return `kubernetes.io/iscsi/${targetPortal ?? target.portals[0]}:${target.iqn}:${target.lun}`
  const list = (names: readonly string[]): string => `[${names.join(' ')}]`
  const { wwns, wwids, lun } = target
  return `kubernetes.io/fc/${wwns.length > 0 ? `${list(wwns)}:${lun}` : list(wwids)}`
}

/** What is kept of an iSCSI disk beside it, `iscsi.json`: the Go kubelet's fields. */
export interface IscsiRecord {
  VolName: string
  Portals: string[]
  Iqn: string
  Lun: string
  Iface: string
  InitiatorName: string
}

export const recordOf = (target: IscsiTarget): IscsiRecord => ({
  VolName: target.volume,
  Portals: [...target.portals],
  Iqn: target.iqn,
  Lun: String(target.lun),
  Iface: wayOf(target),
  InitiatorName: target.initiatorName,
})

/** Undefined: it is no record, or a torn one. */
export function iscsiOfRecord(text: string): IscsiTarget | undefined {
  try {
    const { VolName, Portals, Iqn, Lun, Iface, InitiatorName = '' } = JSON.parse(text) as Partial<IscsiRecord>
    const [portal, ...portals] = Portals ?? []
    if (portal === undefined) return undefined
    const source = { targetPortal: portal, portals, iqn: Iqn ?? '', lun: Number(Lun), initiatorName: InitiatorName }
    const target = iscsiTarget(source, VolName ?? '')
    return { ...target, iface: Iface ?? target.iface }
  } catch {
    return undefined
  }
}
