// What disks of iSCSI and Fibre Channel are called, and what their folders and records say of them.
import { describe, expect, test } from 'vitest'
import { fieldsOf, transportOf } from '../../src/storage/scsi/iscsiadm.ts'
import {
  attachNameOf,
  fcOfFolder,
  fcTarget,
  folderOf,
  iscsiOfFolder,
  iscsiOfRecord,
  iscsiTarget,
  recordOf,
} from '../../src/storage/scsi/target.ts'

const iqn = 'iqn.2001-04.com.example:storage.disk-lun-1'
const source = { targetPortal: '10.0.2.15', iqn, lun: 3 }

describe('iSCSI', () => {
  test.each<[string, object, string[], string, string]>([
    ['a portal without a port', {}, ['10.0.2.15:3260'], 'default', 'iface-default'],
    [
      'several',
      { portals: ['10.0.2.16:3261', 'storage'] },
      ['10.0.2.15:3260', '10.0.2.16:3261', 'storage:3260'],
      'default',
      'iface-default',
    ],
    ['an address of IPv6', { targetPortal: 'fd00::1' }, ['[fd00::1]:3260'], 'default', 'iface-default'],
    [
      'a way of its own',
      { iscsiInterface: 'bnx2i', initiatorName: 'iqn.a' },
      ['10.0.2.15:3260'],
      'bnx2i',
      'iface-10.0.2.15:3260:pv',
    ],
  ])('%s', (_, more, portals, iface, way) => {
    const target = iscsiTarget({ ...source, ...more }, 'pv')
    expect(target).toMatchObject({ portals, iface, iqn, lun: 3, volume: 'pv' })
    const disk = `${portals[0]}-${iqn}-lun-3`
    expect(folderOf(target, 'Filesystem')).toBe(`iscsi/${way}/${disk}`)
    expect(folderOf(target, 'Block')).toBe(`iscsi/volumeDevices/${way}/${disk}`)
    expect(iscsiOfFolder(way, disk)).toMatchObject({ portals: [portals[0]], iqn, lun: 3, iface: way.slice(6) })
    const { volume, initiatorName } = target
    expect(iscsiOfRecord(JSON.stringify(recordOf(target)))).toMatchObject({
      portals,
      iqn,
      lun: 3,
      volume,
      initiatorName,
    })
  })

  test('volumes are named by their portal as it is written', () => {
    const name = attachNameOf(iscsiTarget(source, 'pv'), '10.0.2.15')
    expect(name).toBe(`kubernetes.io/iscsi/10.0.2.15:${iqn}:3`)
  })

  test.each<[object, string]>([
    [{ iqn: 'iqn.a/../b' }, 'iscsi.iqn "iqn.a/../b"'],
    [{ iqn: 'disk' }, 'iscsi.iqn "disk"'],
    [{ targetPortal: '-x' }, 'iscsi.targetPortal "-x:3260"'],
    [{ portals: ['a b'] }, 'iscsi.targetPortal "a b:3260"'],
    [{ iscsiInterface: '../x' }, 'iscsi.iscsiInterface "../x"'],
    [{ initiatorName: '--help' }, 'iscsi.initiatorName "--help"'],
    [{ lun: 256 }, 'iscsi.lun 256'],
    [{ lun: 1.5 }, 'iscsi.lun 1.5'],
  ])('%j is refused', (more, message) => {
    expect(() => iscsiTarget({ ...source, ...more }, 'pv')).toThrow(message)
  })

  test.each([
    '',
    '{',
    '[]',
    '{"Portals":[]}',
    '{"Portals":["a"],"Iqn":"../x","Lun":"0"}',
    '{"Portals":["a"],"Iqn":"iqn.a","Lun":"x"}',
  ])('no record: %s', (text) => expect(iscsiOfRecord(text)).toBeUndefined())
  test.each([
    ['iface-default', 'disk'],
    ['default', `a-${iqn}-lun-1`],
    ['iface-a', 'a-iqn.b'],
  ])('no disk: %s/%s', (...names) => expect(iscsiOfFolder(...names)).toBeUndefined())

  test('what iscsiadm shows of a way', () => {
    const shown = `# BEGIN RECORD 2.1.8
iface.iscsi_ifacename = default
iface.net_ifacename = <empty>
iface.hwaddress = 00:11:22:33:44:55
iface.transport_name = tcp
iface.initiatorname = <empty>
# END RECORD
`
    expect(transportOf(shown)).toBe('tcp')
    expect(transportOf(shown.replace('= tcp', '= <empty>'))).toBe('tcp')
    expect(transportOf('')).toBeUndefined()
    expect(fieldsOf(shown)).toEqual({ 'iface.hwaddress': '00:11:22:33:44:55', 'iface.transport_name': 'tcp' })
  })
})

describe('Fibre Channel', () => {
  const ports = { targetWWNs: ['50060e801049cfd1', '50060e801049cfd2'], lun: 2 }
  test('by ports and unit', () => {
    const target = fcTarget(ports)
    expect(folderOf(target, 'Filesystem')).toBe('fc/50060e801049cfd1-50060e801049cfd2-lun-2')
    expect(fcOfFolder('50060e801049cfd1-50060e801049cfd2-lun-2')).toEqual(target)
    expect(attachNameOf(target)).toBe('kubernetes.io/fc/[50060e801049cfd1 50060e801049cfd2]:2')
  })
  test('by identifiers of the disk', () => {
    const target = fcTarget({ wwids: ['3600508b400105e21', 'ACME DISK 1'] })
    expect(folderOf(target, 'Block')).toBe('fc/volumeDevices/3600508b400105e21-ACME_DISK_1')
    expect(fcOfFolder('3600508b400105e21-ACME_DISK_1')).toEqual(target)
    expect(attachNameOf(target)).toBe('kubernetes.io/fc/[3600508b400105e21 ACME_DISK_1]')
  })
  test.each<[object, string]>([
    [{}, 'fc: no fc disk information found'],
    [{ targetWWNs: ['a'] }, 'fc: no fc disk information found'],
    [{ wwids: ['../x'] }, 'fc.wwids "../x"'],
    [{ targetWWNs: ['a/b'], lun: 0 }, 'fc.targetWWNs "a/b"'],
    [{ targetWWNs: ['a'], lun: -1 }, 'fc.lun -1'],
  ])('%j is refused', (more, message) => expect(() => fcTarget(more)).toThrow(message))
})
