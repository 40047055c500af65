// Volumes of a real driver, on real mounts.
import { mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { mount, unmount } from '@nodelet/linux'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { CsiVolumeError } from '../../src/index.ts'
import { type CsiVolumes, inlineHandle } from '../../src/index.ts'
import { silentLogger } from '../../src/log.ts'
import { CsiError } from '../../src/sdk/index.ts'
import { disk, driverName, never, newWorld, podOf, type World } from './world.ts'

let world: World
let volumes: CsiVolumes
let nowMs = 0
const clock = { now: () => nowMs }
/** Past every back-off. */
const later = (): void => void (nowMs += 200_000)
beforeEach(async () => {
  nowMs = 1_700_000_000_000
  world = await newWorld()
  volumes = await world.open({ clock })
})
afterEach(async () => world[Symbol.asyncDispose]())

// As sha256sum has them, of `vol-1` and of `vol-1disk.example.comnode-1`.
const handleHash = 'd2e8363faaac7ae76def3b14091d8eb5755f6b92e9531627aeec833a8731cc49'
const attachment = '19c42f43d69fa1f381555c6802be2757a07267e9705a867fd59297bc87dd0694'
const target = (uid = 'uid-1'): string => `/pods/${uid}/volumes/kubernetes.io~csi/pv-1/mount`
const failure = async (work: Promise<unknown>): Promise<CsiVolumeError> =>
  work.then(
    () => {
      throw new Error('it succeeded')
    },
    (error: CsiVolumeError) => error,
  )
const refuse = (code: ConstructorParameters<typeof CsiError>[0]) => () => {
  throw new CsiError(code, 'no')
}

describe('a volume of a PersistentVolume', () => {
  test('is staged once, published for each pod, and unstaged after the last; the files are those of the Go kubelet', async () => {
    const path = await volumes.setUp(disk({ fsType: 'ext4', attributes: { pool: 'a' } }), podOf(), {}, never)
    expect(path).toBe(world.rootDir + target())
    expect(world.asked()).toEqual(['stage', 'publish'])
    const [globalmount = ''] = await world.mounts()
    expect(globalmount).toBe(`/plugins/kubernetes.io/csi/disk.example.com/${handleHash}/globalmount`)
    expect(await world.mounts()).toEqual([globalmount, target()])
    const read = (name: string): string => readFileSync(join(world.rootDir, name), 'utf8')
    expect(read(join(globalmount, '../vol_data.json'))).toBe(
      '{"driverName":"disk.example.com","volumeHandle":"vol-1"}\n',
    )
    expect(read(join(target(), '../vol_data.json'))).toBe(
      `{"attachmentID":"csi-${attachment}","driverName":"disk.example.com","nodeName":"node-1","specVolID":"pv-1","volumeHandle":"vol-1","volumeLifecycleMode":"Persistent"}\n`,
    )
    expect(world.calls[0]?.request).toMatchObject({
      volumeId: 'vol-1',
      capability: { kind: 'mount', fsType: 'ext4', accessMode: 'SINGLE_NODE_WRITER' },
      volumeContext: { pool: 'a' },
    })
    await volumes.setUp(disk(), podOf(), {}, never)
    expect(world.asked()).toEqual([])
    await volumes.setUp(disk(), podOf('uid-2'), {}, never)
    expect(world.asked()).toEqual(['publish'])
    expect(volumes.inUse()).toEqual(['kubernetes.io/csi/disk.example.com^vol-1'])
    writeFileSync(join(path, 'precious'), 'data')
    await volumes.tearDown('uid-1')
    expect(world.asked()).toEqual(['unpublish'])
    expect(readdirSync(world.rootDir + target('uid-2'))).toEqual(['precious'])
    await volumes.tearDown('uid-2')
    expect(world.asked()).toEqual(['unpublish', 'unstage'])
    await volumes.tearDown('uid-2')
    expect(world.asked()).toEqual([])
    expect([await world.mounts(), world.left(), volumes.published(), volumes.inUse()]).toEqual([[], [], [], []])
  })

  test('is mounted with the SELinux label of its pod, which is written down; a pod with another one waits', async () => {
    const mountOptions = ['noatime', 'discard', 'noatime']
    const labelled = (level: string) => disk({ mountOptions, seLinuxLabel: `u:r:t:${level}` })
    await volumes.setUp(labelled('s0:c1'), podOf(), {}, never)
    for (const { request } of world.calls) {
      expect(request).toMatchObject({ capability: { mountFlags: [...mountOptions, 'context="u:r:t:s0:c1"'] } })
    }
    const files = (await world.mounts()).map((path) => join(world.rootDir, path, '../vol_data.json'))
    const contexts = files.map((file) => JSON.parse(readFileSync(file, 'utf8')) as object)
    expect(contexts).toMatchObject(Array.from({ length: 2 }, () => ({ seLinuxMountContext: 'u:r:t:s0:c1' })))
    // Also one that comes after a restart.
    await volumes.close()
    volumes = await world.open({ clock })
    const error = await failure(volumes.setUp(labelled('s0:c2'), podOf('uid-2'), {}, never))
    expect(error.message).toBe(
      'MountVolume.MountDevice failed for volume "pv-1" : conflicting SELinux labels of volume pv-1: "u:r:t:s0:c1" and "u:r:t:s0:c2"',
    )
    world.asked()
    await volumes.tearDown('uid-1')
    later()
    await volumes.setUp(labelled('s0:c2'), podOf('uid-2'), {}, never)
    expect(world.asked()).toEqual(['unpublish', 'unstage', 'stage', 'publish'])
  })

  test('two PersistentVolumes of one handle share what is staged', async () => {
    await volumes.setUp(disk(), podOf(), {}, never)
    await volumes.setUp(disk({ specName: 'pv-2', readOnly: true }), podOf(), {}, never)
    expect(world.asked()).toEqual(['stage', 'publish', 'publish'])
    await volumes.tearDown('uid-1')
    expect(world.asked()).toEqual(['unpublish', 'unpublish', 'unstage'])
    expect(world.left()).toEqual([])
  })

  test('work on one volume is serial, whoever asks', async () => {
    let running = 0
    let most = 0
    world.before.publish = async () => {
      most = Math.max(most, ++running)
      await new Promise((resolve) => setImmediate(resolve))
      running--
    }
    await Promise.all(['uid-1', 'uid-2'].map(async (uid) => volumes.setUp(disk(), podOf(uid), {}, never)))
    expect([most, world.asked()]).toEqual([1, ['stage', 'publish', 'publish']])
  })

  test('secrets are read for each call; without one nothing begins', async () => {
    const secret = (name: string) => ({ namespace: 'kube-system', name })
    const volume = disk({ stageSecret: secret('s'), publishSecret: secret('p') })
    const error = await failure(volumes.setUp(volume, podOf(), {}, never))
    expect(error.message).toBe(
      'MountVolume.MountDevice failed for volume "pv-1" : fetching NodeStageSecretRef kube-system/s failed: kubernetes.io/csi: failed to find the secret s in the namespace kube-system with error: secrets "s" not found',
    )
    world.secrets.set('kube-system/s', { key: 'one' }).set('kube-system/p', { key: 'two' })
    later()
    await volumes.setUp(volume, podOf(), {}, never)
    expect(world.calls.map(({ request }) => request['secrets'])).toEqual([{ key: 'one' }, { key: 'two' }])
  })

  test('work on it is told, whether it succeeds', async () => {
    const work: string[] = []
    volumes = await world.open({
      clock,
      worked: ({ driver, operation, migrated, success }) =>
        work.push(`${driver} ${operation} ${migrated ? 'migrated ' : ''}${success}`),
    })
    const volume = disk({ fsType: 'tmpfs', migrated: true })
    await volumes.setUp(volume, podOf('uid-1', { fsGroup: 4321 }), {}, never)
    expect(work.splice(0)).toEqual([`${driverName} volume_apply_access_control migrated true`])
    world.before.unstage = refuse('INTERNAL')
    await failure(volumes.tearDown('uid-1'))
    delete world.before.unstage
    later()
    await volumes.tearDown('uid-1')
    await volumes.tearDownUnused()
    expect(work).toEqual([`${driverName} unmount_device false`, `${driverName} unmount_device true`])
    const calls = world.operations.filter(({ migrated }) => migrated).map(({ method, code }) => `${method} ${code}`)
    expect(calls).toEqual(['/csi.v1.Node/NodeStageVolume OK', '/csi.v1.Node/NodePublishVolume OK'])
    expect(world.operations.length).toBeGreaterThan(calls.length)
  })

  test('its files are given to the group of the pod, as the policy of the driver wants it', async () => {
    const path = await volumes.setUp(disk({ fsType: 'tmpfs' }), podOf('uid-1', { fsGroup: 4321 }), {}, never)
    expect([statSync(path).gid, (statSync(path).mode & 0o2070).toString(8)]).toEqual([4321, '2070'])
    const other = disk({ volumeHandle: 'vol-2', specName: 'pv-2', fsType: 'tmpfs' })
    const settings = { fsGroupPolicy: 'None' }
    const untouched = await volumes.setUp(other, podOf('uid-1', { fsGroup: 4321 }), { settings }, never)
    expect(statSync(untouched).gid).toBe(0)
  })

  test('grows, and says how full it is', async () => {
    await volumes.setUp(disk(), podOf(), {}, never)
    expect(await volumes.expand({ volume: disk(), pod: podOf(), requiredBytes: 2048 }, never)).toBe(2048)
    expect(world.calls.at(-1)?.request).toMatchObject({ volumePath: world.rootDir + target() })
    expect(await volumes.stats('uid-1', 'pv-1', never)).toMatchObject({ bytes: { total: 1 << 20 } })
    expect(await volumes.stats('uid-1', 'pv-9', never)).toBeUndefined()
  })
})

describe('an inline volume', () => {
  const inline = () =>
    disk({ lifecycle: 'Ephemeral', specName: 'scratch', volumeHandle: inlineHandle('uid-1', 'scratch') })

  test('is only taken by drivers that say so; they are told of the pod, and given tokens', async () => {
    const error = await failure(volumes.setUp(inline(), podOf(), {}, never))
    expect(error.message).toBe(
      `MountVolume.SetUp failed for volume "scratch" : kubernetes.io/csi: mounter.SetUpAt failed to check volume lifecycle mode: volume mode "Ephemeral" not supported by driver ${driverName} (no CSIDriver object)`,
    )
    later()
    const settings = {
      volumeLifecycleModes: ['Persistent', 'Ephemeral'],
      podInfoOnMount: true,
      tokenRequests: [{ audience: 'vault' }],
    }
    await volumes.setUp(inline(), podOf(), { settings }, never)
    expect(world.asked()).toEqual(['publish'])
    expect(world.calls[0]?.request).toMatchObject({
      volumeId: expect.stringMatching(/^csi-[0-9a-f]{64}$/),
      volumeContext: {
        'csi.storage.k8s.io/pod.name': 'web',
        'csi.storage.k8s.io/pod.namespace': 'shop',
        'csi.storage.k8s.io/pod.uid': 'uid-1',
        'csi.storage.k8s.io/serviceAccount.name': 'sa',
        'csi.storage.k8s.io/ephemeral': 'true',
        'csi.storage.k8s.io/serviceAccount.tokens':
          '{"vault":{"token":"uid-1 for vault","expirationTimestamp":"soon"}}',
      },
    })
    expect(volumes.inUse()).toEqual([])
    await volumes.tearDown('uid-1')
    expect([world.asked(), world.left()]).toEqual([['unpublish'], []])
  })

  test('is published again and again where the driver wants it, and stays when that fails', async () => {
    const settings = {
      volumeLifecycleModes: ['Ephemeral'],
      requiresRepublish: true,
      serviceAccountTokenInSecrets: true,
    }
    const path = await volumes.setUp(inline(), podOf(), { settings }, never)
    await volumes.setUp(inline(), podOf(), { settings }, never)
    expect(world.asked()).toEqual(['publish', 'publish'])
    world.before.publish = refuse('INVALID_ARGUMENT')
    await failure(volumes.setUp(inline(), podOf(), { settings }, never))
    expect(await world.mounts()).toEqual([path.slice(world.rootDir.length)])
    await volumes.tearDown('uid-1')
    expect(world.left()).toEqual([])
  })
})

describe('a driver that fails', () => {
  test('for good: nothing is left, and nothing need be undone', async () => {
    for (const step of ['stage', 'publish'] as const) {
      world.before = Object.assign(world.before, {
        stage: undefined,
        publish: undefined,
        [step]: refuse('INVALID_ARGUMENT'),
      })
      later()
      const error = await failure(volumes.setUp(disk(), podOf(), {}, never))
      expect(error).toMatchObject({
        kind: 'final',
        operation: step === 'stage' ? 'MountVolume.MountDevice' : 'MountVolume.SetUp',
      })
      expect(volumes.published()).toEqual([])
      world.asked()
      await volumes.tearDown('uid-1')
      expect([world.asked(), world.left()]).toEqual([step === 'stage' ? [] : ['unstage'], []])
    }
  })

  test('perhaps: what it may have done is undone before the volume is given up', async () => {
    world.after.stage = refuse('DEADLINE_EXCEEDED')
    expect(await failure(volumes.setUp(disk(), podOf(), {}, never))).toMatchObject({ kind: 'uncertain' })
    delete world.after.stage
    world.after.publish = refuse('ABORTED')
    later()
    expect(await failure(volumes.setUp(disk(), podOf(), {}, never))).toMatchObject({ kind: 'uncertain' })
    expect(world.asked()).toEqual(['stage', 'stage', 'publish'])
    expect(await world.mounts()).toHaveLength(2)
    await volumes.tearDown('uid-1')
    expect([world.asked(), await world.mounts(), world.left()]).toEqual([['unpublish', 'unstage'], [], []])
  })

  test('waits before it is asked again, longer each time, with the words of the failure', async () => {
    world.before.stage = refuse('INTERNAL')
    await failure(volumes.setUp(disk(), podOf(), {}, never))
    const repeat = await failure(volumes.setUp(disk(), podOf(), {}, never))
    expect(repeat).toMatchObject({ isRepeat: true })
    expect(repeat.message).toBe(
      'MountVolume.SetUp failed for volume "pv-1" : No retries permitted until 2023-11-14 22:13:20.5 +0000 UTC (durationBeforeRetry 500ms). Error: rpc error: code = Internal desc = no',
    )
    nowMs += 500
    await failure(volumes.setUp(disk(), podOf(), {}, never))
    nowMs += 999
    expect(await failure(volumes.setUp(disk(), podOf(), {}, never))).toMatchObject({ isRepeat: true })
    expect(world.asked()).toEqual(['stage', 'stage'])
    volumes.driverCame(driverName)
    delete world.before.stage
    await volumes.setUp(disk(), podOf(), {}, never)
  })

  test('is not there: the volume is known until it is back', async () => {
    await volumes.setUp(disk(), podOf(), {}, never)
    world.drivers.deregister(driverName)
    const why = `driver name ${driverName} not found in the list of registered CSI drivers`
    await expect(volumes.tearDown('uid-1')).rejects.toThrow(`UnmountVolume.TearDown failed for volume "pv-1" : ${why}`)
    const fresh = disk({ volumeHandle: 'vol-2', specName: 'pv-2' })
    await expect(volumes.setUp(fresh, podOf('uid-2'), {}, never)).rejects.toThrow(
      `MountVolume.MountDevice failed for volume "pv-2" : kubernetes.io/csi: attacher.MountDevice failed to create newCsiDriverClient: ${why}`,
    )
    // Of what was never begun nothing is left to be undone.
    await volumes.tearDown('uid-2')
    expect(await world.mounts()).toHaveLength(2)
    await world.drivers.register({ name: driverName, endpoint: world.socketPath, versions: ['1.0.0'] }, never)
    volumes.driverCame(driverName)
    await volumes.tearDown('uid-1')
    expect(world.left()).toEqual([])
  })

  test('says that it is not staged: it is staged again', async () => {
    world.before.publish = refuse('FAILED_PRECONDITION')
    await failure(volumes.setUp(disk(), podOf(), {}, never))
    delete world.before.publish
    later()
    await volumes.setUp(disk(), podOf(), {}, never)
    expect(world.asked()).toEqual(['stage', 'publish', 'stage', 'publish'])
  })

  test('says that it has unmounted, and has not: nothing is removed', async () => {
    const path = await volumes.setUp(disk(), podOf(), {}, never)
    writeFileSync(join(path, 'precious'), 'data')
    await using held = await open(join(path, 'precious'))
    // EBUSY: what the driver makes of it is INTERNAL.
    await expect(volumes.tearDown('uid-1')).rejects.toThrow('EBUSY')
    expect(readdirSync(path)).toEqual(['precious'])
    await held.close()
    later()
    await volumes.tearDown('uid-1')
    expect(world.left()).toEqual([])
  })

  test('says that it has published, and has made nothing: the log tells', async () => {
    world.after.publish = () => {
      unmount(world.rootDir + target())
      rmdirSync(world.rootDir + target())
    }
    const warnings: unknown[] = []
    const log = { ...silentLogger, warn: (fields: object, text: string) => void warnings.push([text, fields]) }
    const own = await world.open({ log })
    expect(await own.setUp(disk(), podOf(), {}, never)).toBe(world.rootDir + target())
    expect(warnings).toEqual([
      [
        'a driver says that it has published a volume, and there is nothing',
        { driver: driverName, volume: 'pv-1', pod: 'uid-1', target: world.rootDir + target() },
      ],
    ])
    await own.tearDown('uid-1')
    expect(world.left()).toEqual([])
  })

  test('lies about its end, or leaves files: they stay, and it is asked again', async () => {
    const path = await volumes.setUp(disk(), podOf(), {}, never)
    world.after.unpublish = () => {
      mkdirSync(path)
      mount({ source: 'other', target: path, type: 'tmpfs' })
      writeFileSync(join(path, 'precious'), 'data')
    }
    await expect(volumes.tearDown('uid-1')).rejects.toThrow(`${path} is still mounted after NodeUnpublishVolume`)
    expect(readdirSync(path)).toEqual(['precious'])
    unmount(path)
    world.after.unpublish = () => {
      mkdirSync(path)
      writeFileSync(join(path, 'precious'), 'data')
    }
    later()
    world.before.unpublish = () => undefined
    await expect(volumes.tearDown('uid-1')).rejects.toThrow('ENOTEMPTY')
    expect(readdirSync(path)).toEqual(['precious'])
    expect(await world.mounts()).toHaveLength(1)
  })

  test('another mount of what is staged keeps it staged', async () => {
    await volumes.setUp(disk(), podOf(), {}, never)
    const elsewhere = join(world.base, 'elsewhere')
    mkdirSync(elsewhere)
    mount({ source: world.rootDir + target(), target: elsewhere, options: ['bind'] })
    await expect(volumes.tearDown('uid-1')).rejects.toThrow(`is still mounted by other references [${elsewhere}]`)
    expect(world.asked()).toEqual(['stage', 'publish', 'unpublish'])
    unmount(elsewhere)
    later()
    await volumes.tearDownUnused()
    expect([world.asked(), world.left()]).toEqual([['unstage'], []])
  })

  test('a caller that gives up does not end what was begun; the end of the pod waits for it', async () => {
    const entered = Promise.withResolvers<void>()
    const go = Promise.withResolvers<void>()
    world.before.publish = async () => {
      entered.resolve()
      await go.promise
    }
    const impatient = new AbortController()
    const up = failure(volumes.setUp(disk(), podOf(), {}, impatient.signal))
    await entered.promise
    impatient.abort(new Error('the pod is to end'))
    expect((await up).message).toBe('the pod is to end')
    const down = volumes.tearDown('uid-1')
    go.resolve()
    await down
    expect([world.asked(), world.left()]).toEqual([['stage', 'publish', 'unpublish', 'unstage'], []])
  })

  test('a handle is any text, as drivers have them', async () => {
    const handles = ['../../etc/passwd', 'a\nb\tc', 'a^b^c up', `/${'x'.repeat(120)}`, 'ü‮\u0007"\\']
    for (const [index, volumeHandle] of handles.entries()) {
      const volume = disk({ volumeHandle, specName: `pv-${index}` })
      await volumes.setUp(volume, podOf(), {}, never)
    }
    const next = await world.open({ clock })
    expect(new Set(next.published().map(({ volumeHandle }) => volumeHandle))).toEqual(new Set(handles))
    await next.tearDown('uid-1')
    const unstaged = world.calls
      .filter(({ rpc }) => rpc === 'unstage')
      .map(({ request }) => String(request['volumeId']))
    expect([new Set(unstaged), world.left(), await world.mounts()]).toEqual([new Set(handles), [], []])
  })

  test.each([
    ['pod UID', disk(), podOf('../x')],
    ['volume', disk({ specName: '..' }), podOf()],
    ['driver', disk({ driver: 'a/b' }), podOf()],
  ])('a %s that would lead elsewhere is refused', async (what, volume, pod) => {
    await expect(volumes.setUp(volume, pod, {}, never)).rejects.toThrow(/cannot be the name of a folder/)
    expect([what, world.left(), world.asked()]).toEqual([what, [], []])
  })
})
