// Pods with volumes of drivers, claims and folders of the node in containers that really run.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import {
  csiDrivers,
  csiNodes,
  events,
  isNotFound,
  mergePatch,
  nodes,
  persistentVolumeClaims,
  persistentVolumes,
  pods,
  volumeAttachments,
} from '@nodelet/kube-client'
import { attachmentName } from '@nodelet/csi-node'
import { openController } from '@nodelet/csi-node/controller'
import { createHostpathDriver } from '@nodelet/csi-node/hostpath'
import {
  createDriver,
  CsiError,
  ensureMounted,
  ensureTarget,
  removeTarget,
  ensureUnmounted,
  type NodeFunctions,
  type ServingDriver,
  usageOf,
} from '@nodelet/csi-node/sdk'
import { attachLoop, detachLoop, loopsOf, readLoops, readMountInfo, unmount } from '@nodelet/linux'
import type { PersistentVolumeSpec, Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Summary } from '../../src/stats/summary-types.ts'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { tmpfs } from '../../../../examples/csi-tmpfs/tmpfs.ts'
import { isReady, namespace, startWholeCluster, stay, type WholeCluster } from '../whole-cluster.ts'

let world: WholeCluster
const served: ServingDriver[] = []
const calls: string[] = []
let maxVolumes = 7
let lastPublish: { publishContext: object; volumeContext: object } | undefined
const data = (volumeId = ''): string => join(world.folder, 'data', volumeId)
const root = (): string => join(world.folder, 'root')

/** Its volumes are folders. */
async function drive(name: string): Promise<void> {
  const driver = createDriver({
    name,
    version: '1.0.0',
    node: {
      info: () => ({ nodeId: `${name}/node-1`, maxVolumes, topology: { [`topology.${name}/zone`]: 'a' } }),
      async stage({ volumeId, stagingPath, capability }) {
        calls.push(`stage ${volumeId}`)
        if (capability.kind === 'block') {
          if (loopsOf(data(volumeId)).length === 0) attachLoop(data(volumeId))
          return
        }
        if (!existsSync(data(volumeId))) throw new CsiError('NOT_FOUND', `no volume ${volumeId}`)
        await ensureMounted({ source: data(volumeId), target: stagingPath })
      },
      async unstage({ volumeId, stagingPath }) {
        calls.push(`unstage ${volumeId}`)
        for (const loop of loopsOf(data(volumeId))) detachLoop(loop)
        await ensureUnmounted(stagingPath)
      },
      async publish({ volumeId, stagingPath, targetPath, readOnly, publishContext, volumeContext, capability }) {
        calls.push(`publish ${volumeId}`)
        lastPublish = { publishContext, volumeContext }
        if (capability.kind === 'block') {
          await ensureTarget(targetPath, 'file')
          await ensureMounted({ source: loopsOf(data(volumeId))[0] ?? '', target: targetPath })
          return
        }
        await ensureTarget(targetPath, 'folder')
        await ensureMounted({ source: stagingPath ?? '', target: targetPath, readOnly })
      },
      async unpublish({ volumeId, targetPath }) {
        calls.push(`unpublish ${volumeId}`)
        await removeTarget(targetPath)
      },
      stats: async ({ volumePath }) => ({ usage: await usageOf(volumePath) }),
    },
  })
  served.push(await driver.serve({ rootDir: root(), endpoint: join(root(), 'plugins', name, 'csi.sock') }))
}

const [disk, attached, hostpath] = ['disk.example.com', 'attached.example.com', 'hostpath.csi.k8s.io']
const ebs = 'ebs.csi.aws.com'

beforeAll(async () => {
  // What is looked at time and again, is so often.
  world = await startWholeCluster({
    configuration: { syncFrequency: '1s', volumeStatsAggPeriod: '500ms', featureGates: { CSIVolumeHealth: true } },
  })
  for (const name of [disk, tmpfs.name, hostpath]) {
    const volumeLifecycleModes = name === tmpfs.name ? ['Ephemeral'] : ['Persistent']
    await world.admin.create(csiDrivers, {
      metadata: { name },
      spec: { attachRequired: false, podInfoOnMount: true, volumeLifecycleModes },
    })
  }
  await drive(disk)
  await drive(attached)
  const driver = createHostpathDriver({ stateDir: join(world.folder, 'hostpath'), nodeId: 'node-1' })
  served.push(await driver.serve({ rootDir: root(), endpoint: join(root(), 'plugins/hostpath/csi.sock') }))
  served.push(await tmpfs.serve({ rootDir: root(), endpoint: join(root(), 'plugins/tmpfs/csi.sock') }))
})
afterAll(async () => {
  await world.kubelet.removeAllPods()
  await Promise.all(served.map(async (driver) => driver.close()))
  for (const { path, file } of readLoops()) if (file.startsWith(world.folder)) detachLoop(path)
  // What a failed test left: nothing of the drivers' data may go with the folder.
  for (const { mountPoint } of (await readMountInfo('self', { below: world.folder })).toReversed()) {
    unmount(mountPoint, { detach: true })
  }
  await world?.[Symbol.asyncDispose]()
})

/** A volume with a claim bound to it, as controllers would have them. */
async function claim(name: string, source: Partial<PersistentVolumeSpec>, storage = '1Gi'): Promise<void> {
  const { admin } = world
  const accessModes = ['ReadWriteOnce']
  const size = { storage }
  const bound = await admin.create(persistentVolumeClaims, {
    metadata: { name, namespace },
    spec: { accessModes, resources: { requests: size }, volumeName: `pv-${name}`, storageClassName: '' },
  })
  const claimRef = { kind: 'PersistentVolumeClaim', namespace, name, uid: bound.metadata?.uid ?? '' }
  await admin.create(persistentVolumes, {
    metadata: { name: `pv-${name}` },
    spec: { accessModes, capacity: size, claimRef, persistentVolumeReclaimPolicy: 'Retain', ...source },
  })
  const status = { phase: 'Bound', accessModes, capacity: size }
  await admin.patch(persistentVolumeClaims, { name, namespace }, mergePatch({ status }), { subresource: 'status' })
}

const csiSource = (driver: string, volumeHandle: string): Partial<PersistentVolumeSpec> => {
  mkdirSync(data(volumeHandle), { recursive: true })
  return { csi: { driver, volumeHandle, volumeAttributes: { pool: 'fast' } } }
}

/** @param claimName of the volume that it writes to at /data */
const writer = (claimName: string, script: string) => ({
  containers: [world.shell(`${script}; ${stay}`, { volumeMounts: [{ name: 'v', mountPath: '/data' }] })],
  volumes: [{ name: 'v', persistentVolumeClaim: { claimName } }],
})

async function end(name: string): Promise<void> {
  await world.admin.delete(pods, { name, namespace })
  const gone = async (): Promise<boolean> => world.read(name).then(() => false, isNotFound)
  await expect.poll(gone, { interval: 20 }).toBe(true)
}

const mounts = async (): Promise<string[]> =>
  (await readMountInfo('self', { below: root() }))
    .map(({ mountPoint }) => mountPoint.slice(root().length))
    .filter(
      (path) => path.includes('kubernetes.io~csi') || path.includes('globalmount') || path.includes('local-volume'),
    )

const messages = async (pod: string, reason: string): Promise<string[]> => {
  const { items } = await world.admin.list(events, { namespace })
  return items
    .filter((event) => event.involvedObject.name === pod && event.reason === reason)
    .map(({ message = '' }) => message)
}

const inPod = (pod: Pod): string => `/pods/${pod.metadata?.uid}/volumes/kubernetes.io~csi`

it('drivers are known to the API server: CSINode, annotation and labels of the Node, which is ready', async () => {
  const names = async () => (await world.admin.get(csiNodes, { name: 'node-1' })).spec.drivers.map(({ name }) => name)
  await expect.poll(async () => (await names()).toSorted()).toEqual([attached, disk, hostpath, tmpfs.name])
  const node = await world.admin.get(nodes, { name: 'node-1' })
  const { metadata, spec } = await world.admin.get(csiNodes, { name: 'node-1' })
  expect(metadata?.ownerReferences).toEqual([
    { apiVersion: 'v1', kind: 'Node', name: 'node-1', uid: node.metadata?.uid },
  ])
  expect(spec.drivers.find(({ name }) => name === disk)).toEqual({
    name: disk,
    nodeID: `${disk}/node-1`,
    topologyKeys: [`topology.${disk}/zone`],
    allocatable: { count: 7 },
  })
  expect(node.metadata?.labels?.[`topology.${disk}/zone`]).toBe('a')
  expect(JSON.parse(node.metadata?.annotations?.['csi.volume.kubernetes.io/nodeid'] ?? '')).toMatchObject({
    [disk]: `${disk}/node-1`,
  })
  const ready = async () =>
    (await world.admin.get(nodes, { name: 'node-1' })).status?.conditions?.find(({ type }) => type === 'Ready')
  await expect.poll(async () => (await ready())?.status).toBe('True')
})

it('what a pod writes to its claim is there for the next one; nothing stays mounted', async () => {
  await claim('one', csiSource(disk, 'vol-one'))
  const first = await world.create('first', writer('one', 'echo kept > /data/file'))
  await world.watched(first, isReady)
  await expect.poll(() => existsSync(join(data('vol-one'), 'file'))).toBe(true)
  expect(lastPublish?.volumeContext).toMatchObject({ pool: 'fast', 'csi.storage.k8s.io/pod.name': 'first' })
  expect(await mounts()).toHaveLength(2)
  await end('first')
  expect(await mounts()).toEqual([])
  const second = await world.create('second', writer('one', 'cat /data/file > /data/copy'))
  await world.watched(second, isReady)
  await expect.poll(() => existsSync(join(data('vol-one'), 'copy'))).toBe(true)
  await end('second')
  expect(readFileSync(join(data('vol-one'), 'copy'), 'utf8')).toBe('kept\n')
  expect(calls.splice(0)).toEqual(
    ['stage', 'publish', 'unpublish', 'unstage', 'stage', 'publish', 'unpublish', 'unstage'].map(
      (rpc) => `${rpc} vol-one`,
    ),
  )
  await expect.poll(() => readdirSync(join(root(), 'pods'))).toEqual([])
})

it('an inline volume is in memory, and of its size', async () => {
  const csi = { driver: tmpfs.name, volumeAttributes: { size: '2m' } }
  const pod = await world.create('inline', {
    containers: [world.shell(stay, { volumeMounts: [{ name: 'scratch', mountPath: '/data' }] })],
    volumes: [{ name: 'scratch', csi }],
  })
  await world.watched(pod, isReady)
  const found = await readMountInfo('self', { below: `${root()}${inPod(pod)}` })
  expect(found).toMatchObject([{ type: 'tmpfs', superOptions: expect.arrayContaining(['size=2048k']) as unknown }])
  await end('inline')
  expect(await mounts()).toEqual([])
})

it('a volume tells how full it is; it grows while it is mounted, and what grew before grows when it is mounted', async () => {
  const { admin } = world
  const signal = AbortSignal.timeout(60_000)
  const controller = openController({ name: hostpath, endpoint: join(root(), 'plugins/hostpath/csi.sock') })
  const capability = { volumeMode: 'Filesystem', accessMode: 'SINGLE_NODE_WRITER', fsType: 'xfs' } as const
  const wanted = {
    name: 'grow',
    requiredBytes: 320 << 20,
    capabilities: [capability],
    parameters: { backing: 'image' },
  }
  const { volumeId } = await controller.createVolume(wanted, signal)
  await claim('grow', { csi: { driver: hostpath, volumeHandle: volumeId, fsType: 'xfs' } }, '320Mi')
  /** As a resizer does. */
  const grow = async (mebibytes: number): Promise<void> => {
    const storage = `${mebibytes}Mi`
    await controller.expandVolume({ volumeId, requiredBytes: mebibytes << 20, capability }, signal)
    await admin.patch(persistentVolumes, { name: 'pv-grow' }, mergePatch({ spec: { capacity: { storage } } }))
    const status = {
      allocatedResources: { storage },
      allocatedResourceStatuses: { storage: 'NodeResizePending' },
      conditions: [{ type: 'FileSystemResizePending', status: 'True' }],
    }
    const ref = { name: 'grow', namespace }
    await admin.patch(persistentVolumeClaims, ref, mergePatch({ status }), { subresource: 'status' })
  }
  const status = async () => (await admin.get(persistentVolumeClaims, { name: 'grow', namespace })).status
  const get = async (path: string): Promise<string> =>
    (await admin.raw({ path: `/api/v1/nodes/node-1/proxy${path}` })).body.text()
  const shown = async (pod: string) =>
    (JSON.parse(await get('/stats/summary')) as Summary).pods
      .find(({ podRef }) => podRef.name === pod)
      ?.volume?.find(({ name }) => name === 'v')
  const holds = (mebibytes: number) => async (): Promise<boolean> => {
    const { capacityBytes = 0 } = (await shown('grower')) ?? {}
    return capacityBytes > (mebibytes << 20) * 0.75 && capacityBytes <= mebibytes << 20
  }

  const pod = await world.create('grower', writer('grow', 'head -c 3000000 /dev/zero > /data/file'))
  await world.watched(pod, isReady)
  await expect.poll(holds(320)).toBe(true)
  await expect.poll(async () => ((await shown('grower'))?.usedBytes ?? 0) > 3_000_000).toBe(true)
  const volume = await shown('grower')
  expect(volume).toMatchObject({ pvcRef: { name: 'grow', namespace }, volumeHealthStats: { abnormal: false } })
  expect((volume?.inodesFree ?? 0) + (volume?.inodesUsed ?? 0)).toBe(volume?.inodes)

  await grow(640)
  await expect.poll(async () => (await status())?.capacity).toEqual({ storage: '640Mi' })
  expect(await status()).toMatchObject({ allocatedResources: { storage: '640Mi' } })
  expect(Object.keys((await status()) ?? {})).not.toContain('allocatedResourceStatuses')
  expect(Object.keys((await status()) ?? {})).not.toContain('conditions')
  await expect.poll(holds(640)).toBe(true)
  const [reason, succeeded] = ['FileSystemResizeSuccessful', 'MountVolume.NodeExpandVolume succeeded for volume']
  for (const name of ['grower', 'grow']) {
    await expect.poll(async () => messages(name, reason)).toEqual([`${succeeded} "pv-grow" node-1`])
  }
  const page = await get('/metrics')
  const { capacityBytes } = (await shown('grower')) ?? {}
  const labels = `{namespace="${namespace}",persistentvolumeclaim="grow"}`
  expect(page).toContain(`kubelet_volume_stats_capacity_bytes${labels} ${capacityBytes}\n`)
  expect(page).toContain(`kubelet_volume_stats_health_status_abnormal${labels} 0\n`)
  await end('grower')

  await grow(960)
  const next = await world.create('grown', writer('grow', ':'))
  await world.watched(next, isReady)
  expect((await status())?.capacity).toEqual({ storage: '960Mi' })
  await end('grown')
  expect(await mounts()).toEqual([])
  await controller.deleteVolume({ volumeId }, signal)
})

it('a volume that has to be attached waits for it, and says so to the controller', async () => {
  await claim('far', csiSource(attached, 'vol-far'))
  const pod = await world.create('waiting', writer('far', ':'))
  const unique = `kubernetes.io/csi/${attached}^vol-far`
  const node = async () => world.admin.get(nodes, { name: 'node-1' })
  await expect.poll(async () => (await node()).status?.volumesInUse).toEqual([unique])
  expect(calls.splice(0)).toEqual([])
  const name = attachmentName(attached, 'vol-far', 'node-1')
  // The cluster asks for it; here is the attacher.
  const asked = async () => (await world.admin.get(volumeAttachments, { name })).spec
  const source = { persistentVolumeName: 'pv-far' }
  await expect
    .poll(async () => asked().catch(() => undefined))
    .toEqual({ attacher: attached, nodeName: 'node-1', source })
  const status = { attached: true, attachmentMetadata: { device: '/dev/xyz' } }
  await world.admin.patch(volumeAttachments, { name }, mergePatch({ status }), { subresource: 'status' })
  await world.watched(pod, isReady)
  expect(lastPublish?.publishContext).toEqual({ device: '/dev/xyz' })
  await end('waiting')
  await expect.poll(async () => (await node()).status?.volumesInUse ?? []).toEqual([])
  expect(calls.splice(0)).toEqual(['stage', 'publish', 'unpublish', 'unstage'].map((rpc) => `${rpc} vol-far`))
})

it('a volume of a cloud provider is one of its driver', async () => {
  await claim('cloud', { awsElasticBlockStore: { volumeID: 'aws://a/vol-cloud' } })
  mkdirSync(data('vol-cloud'), { recursive: true })
  await world.admin.create(csiDrivers, { metadata: { name: ebs }, spec: { attachRequired: false } })
  await drive(ebs)
  await world.watched(await world.create('cloud', writer('cloud', 'echo kept > /data/file')), isReady)
  await expect.poll(() => existsSync(join(data('vol-cloud'), 'file'))).toBe(true)
  expect(lastPublish?.volumeContext).toMatchObject({ partition: '0' })
  const page = await (await world.admin.raw({ path: '/api/v1/nodes/node-1/proxy/metrics' })).body.text()
  const labels = `method_name="/csi.v1.Node/NodePublishVolume",grpc_status_code="OK",migrated="true"`
  expect(page).toContain(`csi_operations_seconds_count{driver_name="${ebs}",${labels}} 1\n`)
  const plugin = `kubernetes.io/csi:${ebs}`
  const work = 'operation_name="volume_mount",status="success",migrated="true"'
  expect(page).toContain(`storage_operation_duration_seconds_count{volume_plugin="${plugin}",${work}} 1\n`)
  const whole = `{plugin_name="${plugin}",operation_name="overall_volume_mount"}`
  expect(page).toContain(`volume_operation_total_seconds_count${whole} 1\n`)
  for (const state of ['desired', 'actual']) {
    expect(page).toContain(`volume_manager_total_volumes{plugin_name="${plugin}",state="${state}_state_of_world"} 1\n`)
  }
  await end('cloud')
  calls.length = 0
})

it('a pod whose volume finds no more room on the node is failed, and the limit of the node is known anew', async () => {
  const { admin } = world
  const spec = { nodeAllocatableUpdatePeriodSeconds: 3600 }
  await admin.create(csiDrivers, { metadata: { name: attached }, spec: spec as object })
  await claim('full', csiSource(attached, 'vol-full'))
  const limit = async () =>
    (await admin.get(csiNodes, { name: 'node-1' })).spec.drivers.find((one) => one.name === attached)?.allocatable
  expect(await limit()).toEqual({ count: 7 })
  maxVolumes = 3
  const pod = await world.create('full', writer('full', ':'))
  const name = attachmentName(attached, 'vol-full', 'node-1')
  const ask = async () => admin.get(volumeAttachments, { name }).catch(() => undefined)
  await expect.poll(async () => (await ask())?.metadata?.name).toBe(name)
  const attachError = { message: 'too many disks', errorCode: 8, time: new Date().toISOString() }
  const status = { attached: false, attachError }
  await admin.patch(volumeAttachments, { name }, mergePatch({ status }), { subresource: 'status' })
  const failed = await world.watched(pod, ({ status }) => status?.phase === 'Failed')
  const message = 'MountVolume.WaitForAttach failed for volume "pv-full" : too many disks'
  expect(failed.status).toMatchObject({
    reason: 'VolumeAttachmentLimitExceeded',
    message: `Pod was rejected: ${message}`,
  })
  await expect.poll(limit).toEqual({ count: 3 })
  expect(await messages('full', 'VolumeAttachmentLimitExceeded')).toEqual([message])
  await end('full')
  expect(calls.splice(0)).toEqual([])
})

it('what keeps a pod from its volume is told', async () => {
  const pod = await world.create('stuck', { ...writer('none', ':'), nodeName: 'node-1' })
  await expect
    .poll(async () => messages('stuck', 'FailedMount'))
    .toEqual([
      `Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: error processing PVC ${namespace}/none: failed to fetch PVC from API server: persistentvolumeclaim "none" not found`,
    ])
  await claim('none', { csi: { driver: disk, volumeHandle: 'vol-none' } })
  await expect
    .poll(async () => messages('stuck', 'FailedMount'), { timeout: 30_000 })
    .toContain(
      'MountVolume.MountDevice failed for volume "pv-none" : rpc error: code = NotFound desc = no volume vol-none',
    )
  mkdirSync(data('vol-none'))
  await world.watched(pod, isReady)
  await end('stuck')
  expect(await mounts()).toEqual([])
  calls.length = 0
})

it('a block volume is a device of the container', async () => {
  mkdirSync(data(), { recursive: true })
  writeFileSync(data('vol-block'), Buffer.alloc(1 << 20, 'x'))
  await claim('block', { csi: { driver: disk, volumeHandle: 'vol-block' }, volumeMode: 'Block' })
  const script = `head -c 3 /dev/raw > /dev/termination-log; printf abc | dd of=/dev/raw conv=notrunc; exit 0`
  const pod = await world.create('block', {
    restartPolicy: 'Never',
    containers: [world.shell(script, { volumeDevices: [{ name: 'v', devicePath: '/dev/raw' }] })],
    volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'block' } }],
  })
  const ended = await world.watched(pod, ({ status }) => status?.phase === 'Succeeded' || status?.phase === 'Failed')
  expect(ended.status?.containerStatuses?.[0]?.state?.terminated).toMatchObject({ exitCode: 0, message: 'xxx' })
  const mapped = 'MapVolume.MapPodDevice succeeded for volume "pv-block"'
  const devices = join(root(), 'plugins/kubernetes.io/csi/volumeDevices/pv-block/dev')
  expect(await messages('block', 'SuccessfulMountVolume')).toEqual([
    `${mapped} globalMapPath "${devices}"`,
    `${mapped} volumeMapPath "${join(root(), 'pods', pod.metadata?.uid ?? '', 'volumeDevices/kubernetes.io~csi')}"`,
  ])
  await end('block')
  // One that has ended is deleted at once.
  const all = ['stage', 'publish', 'unpublish', 'unstage'].map((rpc) => `${rpc} vol-block`)
  await expect.poll(() => calls).toEqual(all)
  await expect.poll(async () => readMountInfo('self', { below: join(root(), 'plugins') })).toEqual([])
  expect(readFileSync(data('vol-block')).subarray(0, 4).toString()).toBe('abcx')
  calls.length = 0
})

it('a folder of the node is a volume, of the group that it names, read-only where the claim says so, and stays', async () => {
  mkdirSync(data('local'), { recursive: true })
  writeFileSync(join(data('local'), 'file'), 'local')
  const here = [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['node-1'] }] }]
  const nodeAffinity = { required: { nodeSelectorTerms: here } }
  await claim('local', { local: { path: data('local') }, nodeAffinity, storageClassName: '' })
  const annotations = { 'pv.beta.kubernetes.io/gid': '4321' }
  await world.admin.patch(persistentVolumes, { name: 'pv-local' }, mergePatch({ metadata: { annotations } }))
  const script = '{ cat /data/file; id -G; } > /dev/termination-log; touch /data/x && exit 9; true'
  const { containers } = writer('local', script)
  const persistentVolumeClaim = { claimName: 'local', readOnly: true }
  const pod = await world.create('local', { containers, volumes: [{ name: 'v', persistentVolumeClaim }] })
  await world.watched(pod, isReady)
  expect(await mounts()).toEqual([`/pods/${pod.metadata?.uid}/volumes/kubernetes.io~local-volume/pv-local`])
  const words = join(root(), 'pods', pod.metadata?.uid ?? '', 'containers', containers[0]?.name ?? '')
  const said = (): string =>
    readdirSync(words)
      .map((name) => readFileSync(join(words, name), 'utf8'))
      .join()
  await expect.poll(said).toMatch(/^local.*\b4321\b/s)
  await end('local')
  expect([readdirSync(data('local')), await mounts()]).toEqual([['file'], []])
})

it('a kubelet that starts again keeps volumes of pods that run, and takes back those of pods that are gone', async () => {
  await claim('kept', csiSource(disk, 'vol-kept'))
  const running = await world.watched(await world.create('kept', writer('kept', 'echo here > /data/file')), isReady)
  await claim('lost', csiSource(disk, 'vol-lost'))
  await world.watched(await world.create('lost', writer('lost', 'echo precious > /data/file')), isReady)
  await expect.poll(() => existsSync(join(data('vol-lost'), 'file'))).toBe(true)
  calls.length = 0
  const [keptUid, lostUid] = [running.metadata?.uid, (await world.read('lost')).metadata?.uid]
  await world.kubelet.close()
  // Deleted, and forgotten, while no kubelet looked.
  await world.admin.delete(pods, { name: 'lost', namespace }, { gracePeriodSeconds: 0 })
  await world.restart()
  await expect
    .poll(() => calls.toSorted(), { timeout: 30_000 })
    .toEqual(['publish vol-kept', 'stage vol-kept', 'unpublish vol-lost', 'unstage vol-lost'])
  await expect.poll(() => readdirSync(join(root(), 'pods'))).toEqual([keptUid])
  expect([lostUid === keptUid, readFileSync(join(data('vol-lost'), 'file'), 'utf8')]).toEqual([false, 'precious\n'])
  const now = await world.read('kept')
  expect(now.status?.containerStatuses).toMatchObject([
    { restartCount: 0, containerID: running.status?.containerStatuses?.[0]?.containerID },
  ])
  await end('kept')
  expect([await mounts(), readFileSync(join(data('vol-kept'), 'file'), 'utf8')]).toEqual([[], 'here\n'])
})

it('pods whose driver hangs keep no place of those that start: others run meanwhile, and then they do', async () => {
  const name = 'hanging.example.com'
  const { promise, resolve: answer } = Promise.withResolvers<void>()
  const asked = new Set<string>()
  const node: NodeFunctions = {
    info: () => ({ nodeId: 'node-1' }),
    async publish({ volumeId, targetPath }) {
      asked.add(volumeId)
      await promise
      await ensureTarget(targetPath, 'folder')
      await ensureMounted({ source: 'tmpfs', target: targetPath, type: 'tmpfs' })
    },
    unpublish: async ({ targetPath }) => removeTarget(targetPath),
  }
  const endpoint = join(root(), 'plugins', name, 'csi.sock')
  served.push(await createDriver({ name, version: '1.0.0', node }).serve({ rootDir: root(), endpoint }))
  await world.admin.create(csiDrivers, { metadata: { name }, spec: { volumeLifecycleModes: ['Ephemeral'] } })
  try {
    const volumes = [{ name: 'v', csi: { driver: name } }]
    const containers = [world.shell(stay, { volumeMounts: [{ name: 'v', mountPath: '/data' }] })]
    // More than start at a time.
    const names = Array.from({ length: availableParallelism() + 2 }, (_, index) => `hung-${index}`)
    const stuck = await Promise.all(names.map(async (pod) => world.create(pod, { containers, volumes })))
    await expect.poll(() => asked.size).toBe(names.length)
    await world.watched(await world.create('free', { containers: [world.shell(stay)] }), isReady)
    for (const pod of names) {
      // The node tells of it in its own time.
      await expect
        .poll(async () => (await world.read(pod)).status)
        .toMatchObject({
          phase: 'Pending',
          containerStatuses: [{ state: { waiting: { reason: 'ContainerCreating' } } }],
        })
    }
    answer()
    await Promise.all(stuck.map(async (pod) => world.watched(pod, isReady)))
    await Promise.all([...names, 'free'].map(end))
    expect(await mounts()).toEqual([])
  } finally {
    answer()
  }
})

it('a node whose pods are all removed has no volume left, and no data lost', async () => {
  await claim('last', csiSource(disk, 'vol-last'))
  await world.watched(await world.create('last', writer('last', 'echo data > /data/file')), isReady)
  await expect.poll(() => existsSync(join(data('vol-last'), 'file'))).toBe(true)
  await world.kubelet.removeAllPods()
  expect([await mounts(), readFileSync(join(data('vol-last'), 'file'), 'utf8')]).toEqual([[], 'data\n'])
})
