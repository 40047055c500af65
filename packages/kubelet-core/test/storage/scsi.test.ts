// Disks of iSCSI targets, and of adapters that stand for Fibre Channel, all of this kernel: in the guest, by cgroup-v2.test.ts.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { events, nodes, persistentVolumeClaims, persistentVolumes, pods } from '@nodelet/kube-client'
import { loopsOf, mount, readMountInfo, unmount } from '@nodelet/linux'
import type { PersistentVolumeSpec, Pod, PodSpec, Secret, Volume } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.ts'
import { silentLogger } from '../../src/log.ts'
import { createAttachments } from '../../src/storage/attach.ts'
import { attachedDisks } from '../../src/storage/disk-kinds.ts'
import { createNodeDisks, type NodeDisks } from '../../src/storage/node-disks.ts'
import { noStorageObjects } from '../../src/storage/objects.ts'
import type { VolumeStorage } from '../../src/storage/storage.ts'
import { tearDownPod } from '../../src/volume/tear-down.ts'
import type { VolumeManager } from '../../src/volume/types.ts'
import { newWorld, podWith, type World } from '../volume-world.ts'
import { namespace, startWholeCluster } from '../whole-cluster.ts'
import { type IscsiServer, serveDisks, serveLoop, startInitiator } from './scsi-server.ts'

const portal = '127.0.0.1:3260'
/** Milliseconds after a process has begun. */
const kills = process.env['NODELET_KILLS']?.split(',').map(Number) ?? [700]
const tries = { timeout: 120_000, interval: 50 }

beforeAll(() => {
  if (process.env.UML) startInitiator()
})

describe.runIf(process.env.UML)('disks', () => {
  let world: World
  let server: IscsiServer
  let guarded: IscsiServer
  let disks: NodeDisks
  const volumes = new Map<string, PersistentVolumeSpec>()
  const secrets = new Map<string, Secret>()
  let attached: string[]
  let told: string[]
  beforeAll(() => {
    server = serveDisks('plain', { units: [64, 32], portals: [portal] })
    const chap = { user: 'node', password: 'secret-of-node' }
    guarded = serveDisks('guarded', { units: [16], portals: ['127.0.0.1:3261'], chap })
  })
  afterAll(() => {
    server[Symbol.dispose]()
    guarded[Symbol.dispose]()
  })
  beforeEach(() => {
    world = newWorld()
    volumes.clear()
    secrets.clear()
    attached = []
    told = []
    disks = createNodeDisks(world.rootDir, silentLogger)
  })
  afterEach(async () => {
    await world.end()
    expect(sessions(), 'sessions that are left').toEqual([])
  })

  const sessions = (): string[] => namesIn('/sys/class/iscsi_session')
  const sources = async (): Promise<string[]> =>
    (await readMountInfo('self', { below: world.rootDir })).map(
      ({ mountPoint, source }) => `${source} ${mountPoint.slice(world.rootDir.length + 1)}`,
    )
  const iscsi = (lun = 0, more: Partial<NonNullable<Volume['iscsi']>> = {}): Volume => ({
    name: `disk-${lun}`,
    iscsi: { targetPortal: '127.0.0.1', iqn: server.iqn, lun, ...more },
  })
  const podOf = (uid: string, volume: Volume, spec: Partial<PodSpec> = {}, block = false): Pod => {
    const pod = podWith(
      [volume],
      spec,
      block ? { volumeMounts: [], volumeDevices: [{ name: volume.name, devicePath: '/dev/x' }] } : {},
    )
    return { ...pod, metadata: { ...pod.metadata, uid } }
  }
  const folder = (lun = 0): string =>
    join(world.rootDir, `plugins/kubernetes.io/iscsi/iface-default/${portal}-${server.iqn}-lun-${lun}`)
  /** A kubelet with an API server. */
  function managed(more: Partial<VolumeStorage> = {}): VolumeManager {
    const objects = {
      ...noStorageObjects,
      claim: async (namespace: string, name: string) => ({
        metadata: { name, namespace, uid: name },
        spec: { volumeName: name },
        status: { phase: 'Bound' },
      }),
      volume: async (name: string) => {
        const spec = volumes.get(name)
        return spec && { metadata: { name }, spec: { ...spec, claimRef: { uid: name } } }
      },
      secret: async (_: string, name: string) => secrets.get(name),
    }
    const node = () => ({
      status: {
        volumesInUse: attachments.volumesInUse(),
        volumesAttached: attached.map((name) => ({ name, devicePath: '' })),
      },
    })
    const attachments = createAttachments({
      nodeName: 'node',
      objects,
      node,
      inUse: () => disks.inUse(),
      changed: () => {},
      clock: systemClock,
    })
    const meter = { follow: () => {}, release: () => {} }
    const storage = {
      objects,
      attachments,
      isAttachedByController: false,
      disks,
      meter,
      expander: { release: () => {} },
      node,
      tell: (_: Pod, { reason }: { reason: string }) => told.push(reason),
      clock: Date,
      ...more,
    } as unknown as VolumeStorage
    return world.newManager({ storage })
  }

  test('pods share a disk that is formatted once; with the last the node logs out, and the files stay', async () => {
    const { manager } = world
    const pathOf = async (pod: Pod): Promise<string> => (await manager.mount(pod)).get('disk-0') ?? ''
    const first = await pathOf(podOf('uid-1', iscsi(), { securityContext: { fsGroup: 4321 } }))
    writeFileSync(join(first, 'file'), 'kept')
    expect([statSync(first).gid, statSync(join(first, 'file')).gid]).toEqual([4321, 4321])
    const second = await pathOf(podOf('uid-2', iscsi(0, { readOnly: true })))
    expect(() => writeFileSync(join(second, 'file'), '')).toThrow('EROFS')
    expect(readdirSync(second).toSorted()).toEqual(['file', 'lost+found'])
    const at = folder().slice(world.rootDir.length + 1)
    expect(await sources()).toEqual([
      `/dev/sda ${at}`,
      '/dev/sda pods/uid-1/volumes/kubernetes.io~iscsi/disk-0',
      '/dev/sda pods/uid-2/volumes/kubernetes.io~iscsi/disk-0',
    ])
    await manager.unmount('uid-1')
    expect([readFileSync(join(second, 'file'), 'utf8'), sessions().length]).toEqual(['kept', 1])
    await manager.unmount('uid-2')
    expect([await sources(), sessions(), existsSync('/dev/sda')]).toEqual([[], [], false])
    expect(readdirSync(join(world.rootDir, 'plugins/kubernetes.io/iscsi'))).toEqual([])
    // Another process, and only to read.
    const again = world.newManager()
    const read = (await again.mount(podOf('uid-3', iscsi(0, { readOnly: true })))).get('disk-0') ?? ''
    expect(readFileSync(join(read, 'file'), 'utf8')).toBe('kept')
    await again.mount(podOf('uid-4', iscsi(0, { readOnly: true })))
    await again.unmount('uid-4')
    expect((await readMountInfo('self', { below: folder() }))[0]?.superOptions).toContain('ro')
    await again.unmount('uid-3')
  })

  test('units of one target share its session; each goes with its last pod', async () => {
    const { manager } = world
    await Promise.all([
      manager.mount(podOf('uid-1', iscsi(0))),
      manager.mount(podOf('uid-2', iscsi(1, { fsType: 'ext3' }))),
    ])
    expect(sessions().length).toBe(1)
    const [{ type } = { type: '' }] = await readMountInfo('self', { below: folder(1) })
    expect(type).toMatch(/^ext[34]$/)
    await manager.unmount('uid-1')
    expect([sessions().length, namesIn('/sys/block').filter((name) => name.startsWith('sd')).length]).toEqual([1, 1])
    await manager.unmount('uid-2')
  })

  test('what a kill left is gone on with, or let go of, by its record or by its name', async () => {
    const { manager } = world
    const pod = podOf('uid-1', iscsi())
    const path = (await manager.mount(pod)).get('disk-0') ?? ''
    unmount(path)
    unmount(folder()) // logged in, and not yet mounted
    const record = readFileSync(join(folder(), 'iscsi.json'), 'utf8')
    expect(record).toBe(
      `{"VolName":"disk-0","Portals":["${portal}"],"Iqn":"${server.iqn}","Lun":"0","Iface":"default","InitiatorName":""}\n`,
    )
    await world.newManager().mount(pod)
    expect(existsSync(join(path, 'file'))).toBe(true)
    unmount(path)
    unmount(folder())
    writeFileSync(join(folder(), 'iscsi.json'), record.slice(0, 9))
    const found = createNodeDisks(world.rootDir, silentLogger)
    await found.find()
    expect(found.inUse()).toEqual([`kubernetes.io/iscsi/${portal}:${server.iqn}:0`])
    await found.releaseUnused()
    expect([sessions(), existsSync(folder()), found.inUse()]).toEqual([[], false, []])
    await manager.unmount('uid-1')
  })

  test('killed at any moment, the next process has it all, or nothing', async () => {
    const { manager } = world
    const keep = (await manager.mount(podOf('uid-1', iscsi()))).get('disk-0') ?? ''
    writeFileSync(join(keep, 'kept'), 'kept')
    await manager.unmount('uid-1')
    const script = join(import.meta.dirname, 'scsi-killed.ts')
    const words = ['--conditions=@nodelet/source', script, world.rootDir, portal, server.iqn]
    for (const afterMs of kills) {
      const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] })
      const exited = once(child, 'exit')
      await once(child.stdout, 'data')
      await sleep(afterMs)
      child.kill('SIGKILL')
      await exited
      await tearDownPod(world.rootDir, 'killed')
      // What it asked of others may still be under way.
      const left = async (): Promise<unknown> => {
        await createNodeDisks(world.rootDir, silentLogger).releaseUnused()
        return [await sources(), sessions(), namesIn(join(world.rootDir, 'plugins/kubernetes.io/iscsi'))]
      }
      await expect
        .poll(async () => left().catch(String), { ...tries, message: `after ${afterMs} ms` })
        .toEqual([[], [], []])
      const path = (await manager.mount(podOf('uid-1', iscsi()))).get('disk-0') ?? ''
      expect(readFileSync(join(path, 'kept'), 'utf8')).toBe('kept')
      await manager.unmount('uid-1')
    }
  })

  test('with the folder of a kubelet go its disks, whatever a pod has written to them', async () => {
    const path = (await world.manager.mount(podOf('uid-1', iscsi()))).get('disk-0') ?? ''
    const other = JSON.stringify({
      VolName: 'x',
      Portals: ['127.0.0.1:1'],
      Iqn: 'iqn.2026-01.example:none',
      Lun: '7',
      Iface: 'x',
    })
    writeFileSync(join(path, 'iscsi.json'), other)
    await disks.find()
    expect(disks.inUse()).toEqual([`kubernetes.io/iscsi/${portal}:${server.iqn}:0`])
    const forget = await attachedDisks(world.rootDir, silentLogger)
    expect(sessions().length).toBe(1)
    unmount(path)
    await forget()
    expect(sessions()).toEqual([])
    const again = (await world.newManager().mount(podOf('uid-1', iscsi()))).get('disk-0') ?? ''
    rmSync(join(again, 'iscsi.json'))
    await world.manager.unmount('uid-1')
  })

  test('of several ways to a disk, what multipathd makes of them is used', async () => {
    const portals = ['127.0.0.1:3263', '127.0.0.1:3264'] as const
    using both = serveDisks('both', { units: [16], portals })
    const { manager } = world
    const [targetPortal, other] = portals
    const mounting = manager.mount(podOf('uid-1', iscsi(0, { iqn: both.iqn, targetPortal, portals: [other] })))
    await expect.poll(() => ['sda', 'sdb'].filter((name) => existsSync(join('/dev', name))), tries).toHaveLength(2)
    // As multipathd and udev do.
    const ways = ['sda', 'sdb'].map((name) => `${readFileSync(`/sys/block/${name}/dev`, 'utf8').trim()} 1`)
    const sectors = readFileSync('/sys/block/sda/size', 'utf8').trim()
    const table = `0 ${sectors} multipath 0 0 1 1 service-time 0 2 1 ${ways.join(' ')}`
    const dmsetup = (...words: string[]): unknown =>
      execFileSync('dmsetup', ['--noudevsync', '--noudevrules', ...words])
    dmsetup('create', 'mpatha', '--uuid', 'mpath-3600140500000001', '--table', table)
    await mounting
    expect((await sources()).map((line) => line.split(' ')[0])).toEqual(['/dev/dm-0', '/dev/dm-0'])
    expect(sessions().length).toBe(2)
    await manager.unmount('uid-1')
    expect([sessions(), namesIn('/sys/block').filter((name) => name.startsWith('sd'))]).toEqual([[], []])
    // `multipath`, which is not here, would have been asked.
    dmsetup('remove', '--force', 'mpatha')
  })

  test('what others have of the target stays as it is', async () => {
    const { manager } = world
    await manager.mount(podOf('uid-1', iscsi()))
    // Somebody has the pod's disk as well.
    const mine = join(world.rootDir, 'mine')
    mkdirSync(mine)
    mount({ source: '/dev/sda', target: mine, type: 'ext4' })
    await manager.unmount('uid-1')
    await expect(disks.releaseUnused()).rejects.toThrow('is in use when it was no longer expected to be in use')
    expect([existsSync(join(mine, 'file')), sessions().length]).toEqual([true, 1])
    unmount(mine)
    // And another unit of the target.
    const [host = ''] = namesIn('/sys/class/iscsi_host')
    writeFileSync(`/sys/class/scsi_host/${host}/scan`, '0 0 1')
    await expect.poll(() => existsSync('/dev/sdb'), tries).toBe(true)
    mount({ source: '/dev/sdb', target: mine, type: 'ext4' })
    await disks.releaseUnused()
    expect([existsSync('/dev/sda'), existsSync(join(mine, 'lost+found')), existsSync(folder())]).toEqual([
      false,
      true,
      false,
    ])
    unmount(mine)
    await manager.mount(podOf('uid-1', iscsi()))
    await manager.unmount('uid-1')
  })

  test('a name of its own for the node, by a way of its own', async () => {
    const { manager } = world
    const initiatorName = 'iqn.2026-01.example:other'
    await manager.mount(podOf('uid-1', iscsi(0, { initiatorName })))
    const way = `${portal}:disk-0`
    const [session = ''] = sessions()
    const said = ['ifacename', 'initiatorname'].map((file) =>
      readFileSync(`/sys/class/iscsi_session/${session}/${file}`, 'utf8').trim(),
    )
    expect(said).toEqual([way, initiatorName])
    expect(readdirSync(join(world.rootDir, 'plugins/kubernetes.io/iscsi'))).toEqual([`iface-${way}`])
    await manager.unmount('uid-1')
    expect(namesIn('/etc/iscsi/ifaces')).not.toContain(way)
  })

  test('CHAP asks for a secret; what is wrong is told, without the secret', async () => {
    const manager = managed()
    const asks = {
      iqn: guarded.iqn,
      targetPortal: '127.0.0.1:3261',
      chapAuthSession: true,
      secretRef: { name: 'chap' },
    }
    const mounting = async (more: object = {}): Promise<string> =>
      manager.mount(podOf('uid-1', iscsi(0, { ...asks, ...more }))).then(
        (paths) => paths.get('disk-0') ?? '',
        (error: Error) => error.message,
      )
    const failed = 'MountVolume.WaitForAttach failed for volume "disk-0" : '
    expect(await mounting({ secretRef: undefined })).toBe(`${failed}CHAP enabled but secret name or namespace is empty`)
    expect(await mounting()).toBe(`${failed}couldn't get secret n/chap error: secrets "chap" not found`)
    await manager.unmount('uid-1')
    expect(disks.inUse()).toEqual([])
    const chap = (password: string): Secret => ({
      type: 'kubernetes.io/iscsi-chap',
      data: {
        'node.session.auth.username': Buffer.from('node').toString('base64'),
        'node.session.auth.password': Buffer.from(password).toString('base64'),
      },
    })
    secrets.set('chap', chap('another-secret'))
    const refused = await mounting()
    expect(refused).toContain(
      `${failed}failed to get any path for iscsi disk, last err seen:\niscsi: failed to attach disk`,
    )
    expect(refused).toContain('authorization failure')
    expect(refused).not.toContain('another-secret')
    secrets.set('chap', chap('secret-of-node'))
    expect(existsSync(join(await mounting(), 'lost+found'))).toBe(true)
    await manager.unmount('uid-1')
  })

  test('a device for a pod is held as long as the pod has it; a controller says when it may be had', async () => {
    const source = { targetPortal: portal, iqn: server.iqn, lun: 1 }
    volumes.set('pv', { iscsi: source, volumeMode: 'Block', accessModes: ['ReadWriteOnce'] })
    const volume = { name: 'raw', persistentVolumeClaim: { claimName: 'pv' } }
    const pod = podOf('uid-1', volume, {}, true)
    const name = `kubernetes.io/iscsi/${portal}:${server.iqn}:1`
    const waiting = new AbortController()
    const manager = managed({ isAttachedByController: true })
    const early = manager.mount(pod, waiting.signal).catch((error: Error) => error.message)
    await expect.poll(() => namesIn(join(world.rootDir, 'plugins/kubernetes.io')), tries).toEqual([])
    waiting.abort(new Error('enough'))
    expect(await early).toContain('enough')
    attached = [name]
    const device = (await manager.mount(pod)).get('raw') ?? ''
    expect(device).toMatch(/^\/dev\/sd[a-z]$/)
    const map = join(
      world.rootDir,
      `plugins/kubernetes.io/iscsi/volumeDevices/iface-default/${portal}-${server.iqn}-lun-1`,
    )
    const link = join(world.rootDir, 'pods/uid-1/volumeDevices/kubernetes.io~iscsi/pv')
    expect([readlinkSync(link), readdirSync(map), loopsOf(join(map, 'uid-1')).length]).toEqual([
      device,
      ['iscsi.json', 'uid-1'],
      1,
    ])
    expect(disks.inUse()).toEqual([name])
    // A process that knows nothing but what is there.
    await createNodeDisks(world.rootDir, silentLogger).releaseUnused()
    expect(loopsOf(join(map, 'uid-1')).length).toBe(1)
    await manager.unmount('uid-1')
    expect([existsSync(map), disks.inUse(), readdirSync(join(world.rootDir, 'pods'))]).toEqual([false, [], []])
  })

  test('what is malformed, or not there, is told', async () => {
    const { manager } = world
    const wrong = async (more: object): Promise<void> => {
      const mounting = manager.mount(podOf('uid-1', iscsi(0, more)))
      await mounting
    }
    await expect(wrong({ iqn: '../../etc' })).rejects.toThrow('iscsi.iqn "../../etc"')
    await expect(wrong({ iscsiInterface: 'none' })).rejects.toThrow('iscsi: could not read iface none')
    await manager.unmount('uid-1')
    await expect(manager.mount(podOf('uid-1', { name: 'v', fc: { wwids: ['none'] } }))).rejects.toThrow(
      'MountVolume.WaitForAttach failed for volume "v" : no fc disk found',
    )
    await manager.unmount('uid-1')
    expect(namesIn(join(world.rootDir, 'plugins/kubernetes.io/iscsi'))).toEqual([])
  })

  test('a disk of an adapter is found by what udev calls it, used, and forgotten', async () => {
    const { manager } = world
    using adapter = serveLoop('adapter', 16)
    await expect.poll(() => adapter.disk(), tries).toMatch(/^sd[a-z]$/)
    const [byPath, byId] = ['/dev/disk/by-path', '/dev/disk/by-id']
    for (const links of [byPath, byId]) mkdirSync(links, { recursive: true })
    const link = join(byPath, 'pci-0000:00:01.0-fc-0x50060e801049cfd1-lun-0')
    symlinkSync(`../../${adapter.disk()}`, link)
    const byPort: Volume = { name: 'v', fc: { targetWWNs: ['50060e801049cfd1'], lun: 0, fsType: 'ext4' } }
    const path = (await manager.mount(podOf('uid-1', byPort))).get('v') ?? ''
    writeFileSync(join(path, 'file'), 'kept')
    expect(await sources()).toEqual([
      `/dev/${adapter.disk()} plugins/kubernetes.io/fc/50060e801049cfd1-lun-0`,
      `/dev/${adapter.disk()} pods/uid-1/volumes/kubernetes.io~fc/v`,
    ])
    await manager.unmount('uid-1')
    expect([adapter.disk(), namesIn(join(world.rootDir, 'plugins/kubernetes.io/fc'))]).toEqual([undefined, []])
    rmSync(link)
    // A look at all adapters brings it back.
    const missing = manager.mount(podOf('uid-1', byPort))
    await expect(missing).rejects.toThrow('no fc disk found')
    await expect.poll(() => adapter.disk(), tries).toMatch(/^sd[a-z]$/)
    const name = join(byId, 'scsi-3600508b400105e21')
    symlinkSync(`../../${adapter.disk()}`, name)
    const again = await manager.mount(podOf('uid-1', { name: 'v', fc: { wwids: ['3600508b400105e21'] } }))
    expect(readFileSync(join(again.get('v') ?? '', 'file'), 'utf8')).toBe('kept')
    await manager.unmount('uid-1')
    rmSync(name)
  })
})

describe.runIf(process.env.UML)('a cluster', () => {
  test('a pod has the disk of its claim once the node lists it, and the next pod has its files', async () => {
    using server = serveDisks('cluster', { units: [16], portals: ['127.0.0.1:3262'] })
    await using world = await startWholeCluster()
    const { admin } = world
    const [accessModes, capacity] = [['ReadWriteOnce'], { storage: '16Mi' }]
    const source = { iscsi: { targetPortal: '127.0.0.1:3262', iqn: server.iqn, lun: 0 } }
    const metadata = { name: 'disk', namespace }
    const usual = { accessModes, storageClassName: '' }
    await admin.create(persistentVolumes, { metadata: { name: 'disk' }, spec: { ...usual, ...source, capacity } })
    await admin.create(persistentVolumeClaims, {
      metadata,
      spec: { ...usual, volumeName: 'disk', resources: { requests: capacity } },
    })
    const attached = async (): Promise<string[]> => {
      const { status } = await admin.get(nodes, { name: 'node-1' })
      return (status?.volumesAttached ?? []).map(({ name }) => name)
    }
    for (const [name, script] of [
      ['first', 'echo kept > /data/file'],
      ['second', 'grep kept /data/file'],
    ] as const) {
      const mount = { volumeMounts: [{ name: 'v', mountPath: '/data' }] }
      const volumes = [{ name: 'v', persistentVolumeClaim: { claimName: 'disk' } }]
      const created = await world.create(name, {
        restartPolicy: 'Never',
        containers: [world.shell(script, mount)],
        volumes,
      })
      const done = async (): Promise<unknown> => (await world.read(name)).status?.phase
      await expect.poll(done, { timeout: 120_000, interval: 200 }).toBe('Succeeded')
      await admin.delete(pods, { name, namespace })
      const { items } = await admin.list(events, { namespace })
      const told = items.filter(({ involvedObject }) => involvedObject.uid === created.metadata?.uid)
      expect(told.find(({ reason }) => reason === 'SuccessfulAttachVolume')?.message).toBe(
        'AttachVolume.Attach succeeded for volume "disk" ',
      )
      await expect.poll(attached, { timeout: 60_000, interval: 200 }).toEqual([])
    }
    expect(namesIn('/sys/class/iscsi_session')).toEqual([])
  })
})

function namesIn(path: string): string[] {
  return existsSync(path) ? readdirSync(path) : []
}
