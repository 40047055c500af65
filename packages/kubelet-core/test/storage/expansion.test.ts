// Growing volumes on their node: what is decided, what the driver is asked, and what a real API server has of it in the end.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CsiError, type CsiVolumes, CsiVolumeError } from '@nodelet/csi-node'
import {
  createKubeClient,
  type KubeClient,
  loadKubeconfig,
  mergePatch,
  persistentVolumeClaims,
  persistentVolumes,
} from '@nodelet/kube-client'
import type { PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startCluster } from '../../../local-cluster/src/index.ts'
import { silentLogger } from '../../src/log.ts'
import { createVolumeExpander } from '../../src/storage/expander.ts'
import { expansionStep, failedStatus, finishedStatus } from '../../src/storage/expansion.ts'
import { createStorageObjects } from '../../src/storage/objects.ts'
import type { CsiPlan } from '../../src/volume/plan.ts'

const gi = (count: number): bigint => BigInt(count) << 30n
/** Of a claim that is to grow from 1Gi to 2Gi. */
const status = (
  state?: string,
  allocated: string | undefined = '2Gi',
  capacity = '1Gi',
): PersistentVolumeClaimStatus => ({
  phase: 'Bound',
  capacity: { storage: capacity },
  ...(allocated && { allocatedResources: { storage: allocated } }),
  ...(state && { allocatedResourceStatuses: { storage: state } }),
})

describe('what is to be done', () => {
  const grown = { capacity: '2Gi', mode: 'ReadWriteMany' }
  test.each<[string, object, { readOnly?: boolean; knownBytes?: bigint; mode?: string; note?: boolean }, object]>([
    ['large enough', status('NodeResizePending'), { knownBytes: gi(2) }, { kind: 'none' }],
    ['pending', status('NodeResizePending'), {}, { kind: 'expand', storage: '2Gi', how: 'begin' }],
    ['allocated less', status('NodeResizePending', '1500Mi'), {}, { kind: 'expand', storage: '1500Mi', how: 'begin' }],
    ['in progress', status('NodeResizeInProgress'), {}, { kind: 'expand', storage: '2Gi', how: 'resume' }],
    ['infeasible', status('NodeResizeInfeasible'), {}, { kind: 'wait' }],
    ["the controller's", status('ControllerResizeInProgress'), {}, { kind: 'wait' }],
    ['no state, but allocated', status(), {}, { kind: 'wait' }],
    ['an old controller', status(undefined, ''), {}, { kind: 'expand', storage: '2Gi', how: 'plain' }],
    ['read-only', status('NodeResizePending'), { readOnly: true }, { kind: 'refuse' }],
    ['grown elsewhere', status(undefined, '2Gi', '2Gi'), {}, { kind: 'none' }],
    ['shared', status(undefined, '2Gi', '2Gi'), grown, { kind: 'expand', storage: '2Gi', how: 'repeat' }],
    ['shared, by its controller alone', status(undefined, '2Gi', '2Gi'), { ...grown, note: true }, { kind: 'none' }],
  ])('%s', (_, own, { readOnly = false, knownBytes = gi(1), mode = 'ReadWriteOnce', note }, step) => {
    const annotations = note ? { 'volume.kubernetes.io/node-expansion-not-required': 'true' } : {}
    const claim = { metadata: { annotations }, status: own }
    const volume = { spec: { capacity: { storage: '2Gi' }, accessModes: [mode] } }
    expect(expansionStep({ claim, volume, readOnly, knownBytes })).toEqual(step)
  })
})

test('a claim keeps what is of no resize, and is told of the same failure once', () => {
  const conditions = [
    { type: 'Mine', status: 'True' },
    { type: 'FileSystemResizePending', status: 'True' },
  ]
  const states = { storage: 'NodeResizeInProgress', other: 'NodeResizePending' }
  const claim = { status: { conditions, allocatedResourceStatuses: states } }
  expect(finishedStatus(claim, '2Gi')).toEqual({
    capacity: { storage: '2Gi' },
    allocatedResourceStatuses: { storage: null },
    conditions: [conditions[0]],
  })
  const failure = { kind: 'final', message: 'no', isInfeasible: false, isInUse: false, isRepeat: false } as const
  const told = failedStatus(claim, failure, 0) as PersistentVolumeClaimStatus
  expect(told.conditions?.map(({ type }) => type)).toEqual(['Mine', 'FileSystemResizePending', 'NodeResizeError'])
  expect(failedStatus({ status: told }, failure, 1)).toBeUndefined()
  expect(failedStatus({ status: told }, { ...failure, isInfeasible: true }, 5000)).toMatchObject({
    allocatedResourceStatuses: { storage: 'NodeResizeInfeasible' },
    conditions: [{}, {}, { lastTransitionTime: '1970-01-01T00:00:00Z' }],
  })
})

let folder: string
let cluster: Awaited<ReturnType<typeof startCluster>>
let admin: KubeClient
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'grow-'))
  cluster = await startCluster({ dataDir: folder, port: 0, nodeName: 'node-1', nodeIPs: ['127.0.0.1'] })
  admin = createKubeClient(await loadKubeconfig(cluster.kubeconfigs.admin))
})
afterAll(async () => {
  await admin?.[Symbol.asyncDispose]()
  await cluster?.close()
  await rm(folder, { recursive: true, force: true })
})

const pending = 'FileSystemResizePending'
const namespace = 'default'
let count = 0

/** A claim of 1Gi whose volume has 2Gi, a pod that has it, and an expander. */
async function open(csi: Partial<CsiVolumes>, own: { status?: object; readOnly?: boolean } = {}) {
  const name = `c${count++}`
  const accessModes = ['ReadWriteOnce']
  const made = await admin.create(persistentVolumeClaims, {
    metadata: { name, namespace },
    spec: { accessModes, resources: { requests: { storage: '1Gi' } }, volumeName: `pv-${name}`, storageClassName: '' },
  })
  const volume = await admin.create(persistentVolumes, {
    metadata: { name: `pv-${name}` },
    spec: {
      accessModes,
      capacity: { storage: '1Gi' },
      claimRef: { kind: 'PersistentVolumeClaim', namespace, name, uid: made.metadata?.uid ?? '' },
      csi: { driver: 'disk.example.com', volumeHandle: name },
    },
  })
  const setStatus = async (status: object): Promise<PersistentVolumeClaim> =>
    admin.patch(persistentVolumeClaims, { name, namespace }, mergePatch({ status }), { subresource: 'status' })
  const claim = await setStatus(status(undefined, ''))
  const events: string[] = []
  const note =
    (whose: string) =>
    (_: object, { type, reason, message }: { type: string; reason: string; message: string }) =>
      void events.push(`${whose} ${type} ${reason}: ${message}`)
  let due: (() => void) | undefined
  const objects = createStorageObjects(admin)
  let looked: (() => void) | undefined
  const expander = createVolumeExpander({
    nodeName: 'node-1',
    objects,
    csi: { expands: async () => true, expand: async () => 0, ...csi },
    tell: note('pod'),
    tellClaim: note('claim'),
    worked: () => {},
    periodMs: 1000,
    clock: {
      now: () => 0,
      after(_, call) {
        due = call
        looked?.()
        return () => (due = undefined)
      },
    },
    log: silentLogger,
  })
  const pod: Pod = { metadata: { name: 'web', namespace, uid: `uid-${name}` } }
  const { readOnly = false } = own
  const plan = (bound = claim, now = volume): CsiPlan => ({
    kind: 'csi',
    name: 'v',
    volume: {
      driver: 'disk.example.com',
      volumeHandle: name,
      specName: `pv-${name}`,
      lifecycle: 'Persistent',
      volumeMode: 'Filesystem',
      accessModes,
      readOnly,
    },
    bound: { claim: bound, volume: now, readOnly },
  })
  /** What a controller does. */
  const grow = async () => {
    const spec = { capacity: { storage: '2Gi' } }
    const larger = await admin.patch(persistentVolumes, { name: `pv-${name}` }, mergePatch({ spec }))
    const conditions = [{ type: pending, status: 'True' }]
    const told = await setStatus(own.status ?? { ...status('NodeResizePending'), conditions })
    return plan(told, larger)
  }
  return {
    name,
    pod,
    events,
    expander,
    plan,
    grow,
    mount: async (wanted: CsiPlan) => expander.mounted(pod, wanted, AbortSignal.timeout(10_000)),
    /** By another pod, which only reads it. */
    async mountReadOnly(wanted: CsiPlan) {
      const reader: Pod = { metadata: { name: 'reader', namespace, uid: `uid-reader-${name}` } }
      const reading = { ...wanted, volume: { ...wanted.volume, readOnly: true } }
      await expander.mounted(reader, reading, AbortSignal.timeout(10_000))
    },
    /** The next look, to its end. */
    async look() {
      const { promise, resolve } = Promise.withResolvers<void>()
      looked = resolve
      due?.()
      await promise
    },
    isFollowed: () => due !== undefined,
    async read() {
      const { status } = await admin.get(persistentVolumeClaims, { name, namespace })
      return {
        capacity: status?.capacity?.['storage'],
        state: status?.allocatedResourceStatuses?.['storage'],
        conditions: (status?.conditions ?? []).map(({ type, message }) => (message ? `${type}: ${message}` : type)),
      }
    },
  }
}

const failing = (code: ConstructorParameters<typeof CsiError>[0], kind: 'final' | 'uncertain' = 'final') => {
  const cause = new CsiError(code, `rpc error: code = ${code} desc = no`, kind)
  return new CsiVolumeError('MountVolume.NodeExpandVolume', 'pv', cause)
}
const expandText = 'Expander.NodeExpand failed to expand the volume : rpc error: code ='

test('a volume that grows while it is mounted: the claim is told before and after, the pod and the claim have the event', async () => {
  const seen: unknown[] = []
  const w = await open({
    expand: async ({ requiredBytes }) => {
      seen.push(requiredBytes, (await w.read()).state)
      return requiredBytes
    },
  })
  await w.mount(w.plan())
  await w.look()
  expect(seen).toEqual([])
  await w.grow()
  await w.look()
  await w.look()
  expect(seen).toEqual([2 ** 31, 'NodeResizeInProgress'])
  expect(await w.read()).toEqual({ capacity: '2Gi', state: undefined, conditions: [] })
  const text = `Normal FileSystemResizeSuccessful: MountVolume.NodeExpandVolume succeeded for volume "pv-${w.name}" node-1`
  expect(w.events).toEqual([`pod ${text}`, `claim ${text}`])
  w.expander.release(w.pod.metadata?.uid ?? '')
  expect(w.isFollowed()).toBe(false)
})

test('one that grew before is grown when it is mounted; one of an old controller without states', async () => {
  for (const own of [{}, { status: status(undefined, '') }]) {
    const w = await open({}, own)
    await w.mount(await w.grow())
    expect(await w.read()).toEqual({ capacity: '2Gi', state: undefined, conditions: [] })
    expect(w.events).toHaveLength(2)
  }
})

test.each<[string, CsiVolumeError, { state?: string; condition?: string; again: boolean; event?: boolean }]>([
  [
    'infeasible',
    failing('OUT_OF_RANGE'),
    { state: 'NodeResizeInfeasible', condition: `${expandText} OUT_OF_RANGE`, again: false },
  ],
  ['another final one', failing('INTERNAL'), { condition: `${expandText} INTERNAL`, again: true }],
  ['not final', failing('UNAVAILABLE', 'uncertain'), { again: true }],
  [
    'in use',
    failing('FAILED_PRECONDITION'),
    { condition: `${expandText} FAILED_PRECONDITION`, again: false, event: false },
  ],
])('a failure that is %s', async (_, error, { state = 'NodeResizeInProgress', condition, again, event = true }) => {
  let calls = 0
  const expand = async (): Promise<never> => {
    calls++
    throw error
  }
  const w = await open({ expand })
  await w.mount(w.plan())
  await w.grow()
  await w.look()
  const conditions = [
    pending,
    ...(condition ? [`NodeResizeError: failed to expand pvc with ${condition} desc = no`] : []),
  ]
  expect(await w.read()).toEqual({ capacity: '1Gi', state, conditions })
  const start = `pod Warning VolumeResizeFailed: NodeExpandVolume.NodeExpandVolume failed for volume "pv-${w.name}" : ${expandText}`
  expect(w.events.map((text) => text.startsWith(start))).toEqual(event ? [true] : [])
  await w.look()
  expect(calls).toBe(again ? 2 : 1)
})

test('a failure holds up the mount, save when the driver only does it later', async () => {
  const later = await open({ expand: async () => Promise.reject(failing('FAILED_PRECONDITION')) })
  await later.mount(await later.grow())
  expect(later.isFollowed()).toBe(true)
  const w = await open({ expand: async () => Promise.reject(failing('INVALID_ARGUMENT')) })
  const message = `MountVolume.Setup failed while expanding volume for volume "pv-${w.name}" : ${expandText} INVALID_ARGUMENT desc = no`
  await expect(w.mount(await w.grow())).rejects.toMatchObject({ name: 'VolumeError', message, reason: 'FailedMount' })
  expect(w.isFollowed()).toBe(false)
  // Nobody has to try that again: the pod may begin.
  const claim = await admin.get(persistentVolumeClaims, { name: w.name, namespace })
  const volume = await admin.get(persistentVolumes, { name: `pv-${w.name}` })
  await w.mount(w.plan(claim, volume))
  expect(w.isFollowed()).toBe(true)
})

test('nothing is asked of a driver that cannot, nor for a pod that only reads', async () => {
  const never = async (): Promise<never> => Promise.reject(new Error('asked'))
  const unable = await open({ expands: async () => false, expand: never })
  await unable.mount(await unable.grow())
  await unable.look()
  expect(unable.events).toEqual([])
  const reader = await open({ expands: never, expand: never }, { readOnly: true })
  await reader.mount(await reader.grow())
  expect(reader.isFollowed()).toBe(false)
  const text = `Warning FileSystemResizeFailed: MountVolume.NodeExpandVolume failed for volume "pv-${reader.name}" requested read-only file system`
  expect(reader.events).toEqual([`pod ${text}`, `claim ${text}`])
  for (const w of [unable, reader]) {
    expect(await w.read()).toEqual({ capacity: '1Gi', state: 'NodeResizePending', conditions: [pending] })
  }
})

test('a pod that only reads is in the way of none that writes', async () => {
  const w = await open({})
  await w.mount(w.plan())
  await w.mountReadOnly(await w.grow())
  expect(w.events.map((text) => text.split(':')[0])).toEqual([
    'pod Warning FileSystemResizeFailed',
    'claim Warning FileSystemResizeFailed',
  ])
  await w.look()
  expect(await w.read()).toEqual({ capacity: '2Gi', state: undefined, conditions: [] })
})
