// What is decided of claims, volumes, attachments and pods that need them: tables.
import type { Node, PersistentVolume, PersistentVolumeClaim, Pod, Volume } from 'kubernetes-types/core/v1.d.ts'
import type { CSIDriver, CSINode, StorageClass, VolumeAttachment } from 'kubernetes-types/storage/v1.d.ts'
import { describe, expect, test } from 'vitest'
import { onlyOnce } from '../src/controllers/events.ts'
import { attachmentName, attachmentSteps, uniqueName } from '../src/controllers/volumes/attachments.ts'
import {
  boundClaim,
  boundStatus,
  boundVolume,
  decideClaim,
  decideVolume,
  unboundVolume,
} from '../src/controllers/volumes/binding.ts'
import type { Known } from '../src/controllers/volumes/binding.ts'
import { findVolume } from '../src/controllers/volumes/match.ts'
import { isUsedBy } from '../src/controllers/volumes/pod-claims.ts'
import { protectionStep } from '../src/controllers/volumes/protection.ts'
import { planVolumes, volumesMissing } from '../src/controllers/volumes/scheduling.ts'

const namespace = 'ns'
type Spec<T> = T extends { spec?: infer S } ? Partial<NonNullable<S>> : never
const claim = (
  spec: Spec<PersistentVolumeClaim> = {},
  rest: { annotations?: Record<string, string>; phase?: string; deletionTimestamp?: string; name?: string } = {},
): PersistentVolumeClaim => {
  const { phase = 'Pending', name = 'c', ...metadata } = rest
  return {
    metadata: { name, namespace, uid: `uid-${name}`, ...metadata },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, ...spec },
    status: { phase: phase as 'Bound' },
  }
}
const volume = (
  name: string,
  spec: Spec<PersistentVolume> = {},
  rest: {
    annotations?: Record<string, string>
    phase?: string
    deletionTimestamp?: string
    labels?: Record<string, string>
  } = {},
): PersistentVolume => {
  const { phase = 'Available', ...metadata } = rest
  return {
    metadata: { name, ...metadata },
    spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' }, ...spec },
    status: { phase: phase as 'Bound' },
  }
}
const reference = (uid?: string, name = 'c') => ({ namespace, name, ...(uid !== undefined && { uid }) })
const onHost = (...values: string[]): Spec<PersistentVolume> => ({
  nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'host', operator: 'In', values }] }] } },
})
const node = (name: string, status: Node['status'] = {}): Node => ({
  metadata: { name, labels: { host: name } },
  status,
})
const completed = { 'pv.kubernetes.io/bind-completed': 'yes' }
const yes = { 'pv.kubernetes.io/bound-by-controller': 'yes' }
const made = { 'pv.kubernetes.io/provisioned-by': 'd' }

describe('the volume for a claim', () => {
  test.for<
    [name: string, wanted: PersistentVolumeClaim, volumes: PersistentVolume[], expected: string | undefined, on?: Node]
  >([
    ['none', claim(), [], undefined],
    [
      'the smallest that is large enough',
      claim(),
      [
        volume('a', { capacity: { storage: '3Gi' } }),
        volume('b', { capacity: { storage: '2Gi' } }),
        volume('c', { capacity: { storage: '1023Mi' } }),
      ],
      'b',
    ],
    [
      'fewer access modes before size',
      claim(),
      [volume('a', { accessModes: ['ReadWriteOnce', 'ReadOnlyMany'] }), volume('b', { capacity: { storage: '9Gi' } })],
      'b',
    ],
    ['all access modes', claim({ accessModes: ['ReadWriteOnce', 'ReadOnlyMany'] }), [volume('a')], undefined],
    ['of its class', claim({ storageClassName: 'x' }), [volume('a'), volume('b', { storageClassName: 'x' })], 'b'],
    [
      'of its old class',
      claim({}, { annotations: { 'volume.beta.kubernetes.io/storage-class': 'x' } }),
      [volume('b', { storageClassName: 'x' })],
      'b',
    ],
    ['of its mode', claim({ volumeMode: 'Block' }), [volume('a'), volume('b', { volumeMode: 'Block' })], 'b'],
    [
      'of its labels',
      claim({ selector: { matchLabels: { a: 'b' } } }),
      [volume('a'), volume('b', {}, { labels: { a: 'b' } })],
      'b',
    ],
    ['not one that ends', claim(), [volume('a', {}, { deletionTimestamp: 'now' })], undefined],
    ['not one of another', claim(), [volume('a', { claimRef: reference(undefined, 'other') })], undefined],
    ['not one that is not ready', claim(), [volume('a', {}, { phase: 'Pending' })], undefined],
    [
      'its own before better ones, of whatever class and phase',
      claim(),
      [
        volume('a'),
        volume(
          'z',
          { claimRef: reference(), storageClassName: 'x', capacity: { storage: '5Gi' } },
          { phase: 'Pending' },
        ),
      ],
      'z',
    ],
    ['not one of a claim of this name that is gone', claim(), [volume('a', { claimRef: reference('old') })], undefined],
    [
      'where the node is',
      claim(),
      [volume('a', onHost('two')), volume('b', { ...onHost('one'), capacity: { storage: '2Gi' } })],
      'b',
      node('one'),
    ],
    [
      'nothing else when its own is elsewhere',
      claim(),
      [volume('a'), volume('z', { ...onHost('two'), claimRef: reference() })],
      undefined,
      node('one'),
    ],
  ])('%s', ([, wanted, volumes, expected, on]) => {
    expect(findVolume(wanted, volumes, on && { node: on })?.metadata?.name).toBe(expected)
  })
})

const later: StorageClass = { metadata: { name: 'later' }, provisioner: 'd', volumeBindingMode: 'WaitForFirstConsumer' }
const soon: StorageClass = { metadata: { name: 'soon' }, provisioner: 'd' }
const fixed: StorageClass = { metadata: { name: 'fixed' }, provisioner: 'kubernetes.io/no-provisioner' }
const using = (...names: string[]): Volume[] =>
  names.map((claimName) => ({ name: claimName, persistentVolumeClaim: { claimName } }))
const pod = (
  name: string,
  volumes: Volume[],
  spec: Partial<Pod['spec']> = {},
  metadata: Pod['metadata'] = {},
): Pod => ({
  metadata: { name, namespace, uid: `uid-${name}`, ...metadata },
  spec: { containers: [], volumes, ...spec },
})

describe('what becomes of a claim', () => {
  const first = 'waiting for first consumer to be created before binding'
  const lost = 'Bound claim has lost its PersistentVolume. Data on the volume is lost!'
  test.for<[name: string, wanted: PersistentVolumeClaim, known: Partial<Known>, expected: object]>([
    ['bound to what fits', claim(), { volumes: [volume('a')] }, { kind: 'bind', volume: { metadata: { name: 'a' } } }],
    [
      'waits without a class',
      claim({ storageClassName: '' }),
      { defaultClass: 'soon' },
      { kind: 'wait', told: { reason: 'FailedBinding' } },
    ],
    ['gets the default class late', claim(), { defaultClass: 'soon' }, { kind: 'classify', name: 'soon' }],
    [
      'is provisioned',
      claim({ storageClassName: 'soon' }),
      {},
      { kind: 'provision', provisioner: 'd', told: { reason: 'ExternalProvisioning' } },
    ],
    [
      'waits for its class',
      claim({ storageClassName: 'x' }),
      {},
      { kind: 'wait', told: { reason: 'ProvisioningFailed', message: 'storageclass.storage.k8s.io "x" not found' } },
    ],
    ['waits for volumes that nobody makes', claim({ storageClassName: 'fixed' }), {}, { kind: 'wait' }],
    [
      'waits for a pod',
      claim({ storageClassName: 'later' }),
      { volumes: [volume('a', { storageClassName: 'later' })] },
      { kind: 'wait', told: { reason: 'WaitForFirstConsumer', message: first } },
    ],
    [
      'waits for its pods',
      claim({ storageClassName: 'later' }),
      { pods: [pod('p', using('c')), pod('q', using('c')), pod('r', using('c'), { nodeName: 'n' })] },
      { kind: 'wait', told: { reason: 'WaitForPodScheduled', message: 'waiting for pods p,q to be scheduled' } },
    ],
    [
      'is provisioned where its pod is to be',
      claim({ storageClassName: 'later' }, { annotations: { 'volume.kubernetes.io/selected-node': 'n' } }),
      {},
      { kind: 'provision' },
    ],
    [
      'takes what the scheduler chose',
      claim({ storageClassName: 'later' }),
      { volumes: [volume('a', { claimRef: reference('uid-c') })] },
      { kind: 'bind' },
    ],
    ['waits for the one it names', claim({ volumeName: 'a' }), {}, { kind: 'wait' }],
    [
      'takes the one it names, though it waits for a pod',
      claim({ volumeName: 'a', storageClassName: 'later' }),
      { volumes: [volume('a', { storageClassName: 'later' })] },
      { kind: 'bind' },
    ],
    [
      'does not take one that is too small',
      claim({ volumeName: 'a' }),
      { volumes: [volume('a', { capacity: { storage: '1Mi' } })] },
      {
        kind: 'wait',
        told: {
          type: 'Warning',
          reason: 'VolumeMismatch',
          message: 'Cannot bind to requested volume "a": requested PV is too small',
        },
      },
    ],
    [
      'does not take one of another',
      claim({ volumeName: 'a' }),
      { volumes: [volume('a', { claimRef: reference('x') })] },
      { kind: 'wait', told: { message: 'volume "a" already bound to a different claim.' } },
    ],
    [
      'is let be when it ends',
      claim({}, { deletionTimestamp: 'now' }),
      { volumes: [volume('a')] },
      { kind: 'nothing' },
    ],
    [
      'is bound again, to finish',
      claim({ volumeName: 'a' }, { annotations: completed }),
      { volumes: [volume('a', { claimRef: reference('uid-c') })] },
      { kind: 'bind' },
    ],
    [
      'is lost',
      claim({ volumeName: 'a' }, { annotations: completed, phase: 'Bound' }),
      {},
      { kind: 'lose', told: { reason: 'ClaimLost', message: lost } },
    ],
    ['is lost once', claim({ volumeName: 'a' }, { annotations: completed, phase: 'Lost' }), {}, { kind: 'nothing' }],
    [
      'is lost to another',
      claim({ volumeName: 'a' }, { annotations: completed }),
      { volumes: [volume('a', { claimRef: reference('x') })] },
      { kind: 'lose', told: { reason: 'ClaimMisbound' } },
    ],
  ])('%s', ([, wanted, known, expected]) => {
    expect(decideClaim(wanted, { volumes: [], pods: [], classes: [later, soon, fixed], ...known })).toMatchObject(
      expected,
    )
  })
})

describe('what becomes of a volume', () => {
  const bound = claim({ volumeName: 'v' })
  const has = { claimRef: reference('uid-c') }
  test.for<[name: string, of: PersistentVolume, claim: PersistentVolumeClaim | undefined, expected: object]>([
    ['free', volume('v', {}, { phase: 'Pending' }), undefined, { kind: 'phase', phase: 'Available' }],
    ['free already', volume('v'), undefined, { kind: 'nothing' }],
    [
      'reserved',
      volume('v', { claimRef: reference() }, { phase: 'Pending' }),
      undefined,
      { kind: 'phase', phase: 'Available' },
    ],
    ['bound', volume('v', has), bound, { kind: 'phase', phase: 'Bound' }],
    ['its claim does not know yet', volume('v', has), claim(), { kind: 'claim' }],
    ['its claim took another', volume('v', has), claim({ volumeName: 'w' }), { kind: 'unbind' }],
    [
      'made for a claim that took another',
      volume('v', { ...has, persistentVolumeReclaimPolicy: 'Delete' }, { annotations: made }),
      claim({ volumeName: 'w' }),
      { kind: 'phase', phase: 'Released' },
    ],
    ['its claim is gone', volume('v', has, { phase: 'Bound' }), undefined, { kind: 'phase', phase: 'Released' }],
    [
      'retained',
      volume('v', { ...has, persistentVolumeReclaimPolicy: 'Retain' }, { phase: 'Released' }),
      undefined,
      { kind: 'nothing' },
    ],
    [
      'left to its provisioner',
      volume('v', { ...has, persistentVolumeReclaimPolicy: 'Delete' }, { phase: 'Released', annotations: made }),
      undefined,
      { kind: 'nothing' },
    ],
    [
      'nobody deletes it',
      volume('v', { ...has, persistentVolumeReclaimPolicy: 'Delete' }, { phase: 'Released' }),
      undefined,
      { kind: 'phase', phase: 'Failed', told: { reason: 'VolumeFailedDelete' } },
    ],
    [
      'nobody recycles it',
      volume('v', { ...has, persistentVolumeReclaimPolicy: 'Recycle' }, { phase: 'Released' }),
      undefined,
      { kind: 'phase', phase: 'Failed', message: 'No recycler plugin found for the volume!' },
    ],
    [
      'told once',
      volume('v', { ...has, persistentVolumeReclaimPolicy: 'Recycle' }, { phase: 'Failed' }),
      undefined,
      { kind: 'nothing' },
    ],
  ])('%s', ([, of, its, expected]) => {
    expect(decideVolume(of, its)).toMatchObject(expected)
  })

  test('bound, both know each other; done twice it is done once; unbound it is as before', () => {
    const free = volume('v')
    const one = boundVolume(free, claim())
    expect(one).toMatchObject({ metadata: { annotations: yes }, spec: { claimRef: reference('uid-c') } })
    expect(boundVolume(one ?? free, claim())).toBeUndefined()
    expect(unboundVolume(one ?? free)).toEqual({ ...free, metadata: { ...free.metadata, annotations: {} } })
    const reserved = volume('v', { claimRef: reference() })
    const own = boundVolume(reserved, claim()) ?? reserved
    expect(own.metadata?.annotations).toEqual({})
    expect(unboundVolume(own).spec?.claimRef).not.toHaveProperty('uid')
    expect(unboundVolume(own).spec?.claimRef).toMatchObject(reference())

    const other = boundClaim(claim(), free) ?? claim()
    expect(other).toMatchObject({ metadata: { annotations: { ...yes, ...completed } }, spec: { volumeName: 'v' } })
    expect(boundClaim(other, free)).toBeUndefined()
    expect(boundClaim(claim({ volumeName: 'v' }), free)?.metadata?.annotations).toEqual(completed)
    const status = boundStatus(other, free)
    expect(status).toEqual({ phase: 'Bound', accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' } })
    const grown = volume('v', { capacity: { storage: '2Gi' } })
    expect(boundStatus({ ...other, ...(status && { status }) }, grown)).toBeUndefined()
  })
})

describe('protection', () => {
  const ephemeral: Volume[] = [{ name: 'v', ephemeral: { volumeClaimTemplate: { spec: claim().spec ?? {} } } }]
  const own = claim({}, { name: 'p-v' })
  const owned = {
    ...own,
    metadata: {
      ...own.metadata,
      ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'uid-p', controller: true }],
    },
  }
  const running = { nodeName: 'n' }
  test.for<[name: string, of: Pod, used: PersistentVolumeClaim, expected: boolean]>([
    ['a pod on a node', pod('p', using('c'), running), claim(), true],
    ['a pod on no node', pod('p', using('c')), claim(), false],
    ['another claim', pod('p', using('d'), running), claim(), false],
    ['another namespace', pod('p', using('c'), running, { namespace: 'other' }), claim(), false],
    ['its own', pod('p', ephemeral, running), owned, true],
    ['a stranger’s with that name', pod('p', ephemeral, running), own, false],
    [
      'its own when all is over',
      pod('p', ephemeral, running, { deletionTimestamp: 'now', deletionGracePeriodSeconds: 0 }),
      owned,
      false,
    ],
  ])('%s', ([, of, used, expected]) => {
    expect(isUsedBy(of, used)).toBe(expected)
  })
  test.for<[finalizers: string[], ends: boolean, isUsed: boolean, expected: string]>([
    [[], false, false, 'add'],
    [['f'], false, false, 'keep'],
    [['f'], true, true, 'keep'],
    [['f'], true, false, 'remove'],
    [[], true, false, 'keep'],
  ])('%j, ends %s, used %s: %s', ([finalizers, ends, isUsed, expected]) => {
    const metadata = { finalizers, ...(ends && { deletionTimestamp: 'now' }) }
    expect(protectionStep({ metadata }, 'f', isUsed)).toBe(expected)
  })
})

describe('pods and their volumes', () => {
  const bound = (name: string, volumeName: string, spec: Spec<PersistentVolumeClaim> = {}): PersistentVolumeClaim =>
    claim({ volumeName, ...spec }, { name, annotations: completed, phase: 'Bound' })
  const claims = [
    bound('bound', 'here'),
    bound('away', 'away'),
    bound('void', 'void'),
    bound('alone', 'here', { accessModes: ['ReadWriteOncePod'] }),
    bound('disk', 'disk'),
    bound('disk2', 'disk2'),
    claim({ storageClassName: 'later' }, { name: 'later' }),
    claim({ storageClassName: 'later' }, { name: 'later2' }),
    claim(
      { storageClassName: 'later' },
      { name: 'chosen', annotations: { 'volume.kubernetes.io/selected-node': 'two' } },
    ),
    claim({ storageClassName: 'picky' }, { name: 'picky' }),
    claim({ storageClassName: 'soon' }, { name: 'soon' }),
    claim({ volumeName: 'lost' }, { name: 'lost', phase: 'Lost' }),
    claim({}, { name: 'ending', deletionTimestamp: 'now' }),
    claim({}, { name: 'p-v' }),
  ]
  const disk = (volumeHandle: string): Spec<PersistentVolume> => ({ csi: { driver: 'd', volumeHandle } })
  const picky: StorageClass = {
    ...later,
    metadata: { name: 'picky' },
    allowedTopologies: [{ matchLabelExpressions: [{ key: 'host', values: ['two'] }] }],
  }
  const csiNodes: CSINode[] = [
    { metadata: { name: 'small' }, spec: { drivers: [{ name: 'd', nodeID: 'n', allocatable: { count: 1 } }] } },
  ]
  const facts = {
    claimOf: (within: string, name: string) =>
      within === namespace ? claims.find(({ metadata }) => metadata?.name === name) : undefined,
    volumes: [
      volume('here', onHost('one')),
      volume('away', onHost('two')),
      volume('disk', disk('1')),
      volume('disk2', disk('2')),
    ],
    classes: [later, soon, picky],
    csiNodes,
  }
  const scratch: Volume[] = [{ name: 'v', ephemeral: { volumeClaimTemplate: { spec: claim().spec ?? {} } } }]
  test.for<[name: string, of: Pod, expected: string | undefined]>([
    ['without claims', pod('p', []), undefined],
    ['bound', pod('p', using('bound')), undefined],
    ['not there', pod('p', using('none')), 'persistentvolumeclaim "none" not found'],
    [
      'not made yet',
      pod('q', scratch),
      'waiting for ephemeral volume controller to create the persistentvolumeclaim "q-v"',
    ],
    ['made for another', pod('p', scratch), 'PVC ns/p-v was not created for pod ns/p (pod is not owner)'],
    ['lost', pod('p', using('lost')), 'persistentvolumeclaim "lost" bound to non-existent persistentvolume "lost"'],
    ['ending', pod('p', using('ending')), 'persistentvolumeclaim "ending" is being deleted'],
    [
      'not bound, and waiting for nobody',
      pod('p', using('later', 'soon')),
      'pod has unbound immediate PersistentVolumeClaims',
    ],
    ['waiting for this pod', pod('p', using('later')), undefined],
  ])('%s', ([, of, expected]) => {
    expect(volumesMissing(of, facts)).toBe(expected)
  })

  const only = 'node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode'
  const ran = pod('other', using('alone', 'disk'))
  test.for<[name: string, of: Pod, on: string, expected: object | string, here?: Pod[], more?: PersistentVolume[]]>([
    ['reachable', pod('p', using('bound')), 'one', { bind: [], provision: [] }],
    ['out of reach', pod('p', using('away')), 'one', "node(s) didn't match PersistentVolume's node affinity"],
    [
      'no volume',
      pod('p', using('void')),
      'one',
      'node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)',
    ],
    ['for one pod only', pod('p', using('alone')), 'one', only, [ran]],
    ['for one pod, this one', { ...ran }, 'one', { bind: [], provision: [] }, [ran]],
    ['to be made', pod('p', using('later')), 'one', { bind: [], provision: [{ metadata: { name: 'later' } }] }],
    [
      'to be made elsewhere',
      pod('p', using('chosen')),
      'one',
      "node(s) didn't find available persistent volumes to bind",
    ],
    ['to be made here', pod('p', using('chosen')), 'two', { provision: [{ metadata: { name: 'chosen' } }] }],
    [
      'not to be made here',
      pod('p', using('picky')),
      'one',
      "node(s) didn't find available persistent volumes to bind",
    ],
    [
      'to be bound, each to another',
      pod('p', using('later', 'later2')),
      'one',
      { bind: [{ volume: { metadata: { name: 'x' } } }], provision: [{ metadata: { name: 'later2' } }] },
      [],
      [volume('x', { storageClassName: 'later' })],
    ],
    ['room for one', pod('p', using('disk')), 'small', { bind: [], provision: [] }],
    [
      'room for one that is there',
      pod('p', using('disk')),
      'small',
      { bind: [], provision: [] },
      [pod('q', using('disk'))],
    ],
    [
      'no room for two',
      pod('p', using('disk2')),
      'small',
      'node(s) exceed max volume count',
      [pod('q', using('disk'))],
    ],
    [
      'no room for one more to be made',
      pod('p', using('later')),
      'small',
      'node(s) exceed max volume count',
      [pod('q', using('disk'))],
    ],
  ])('%s', ([, of, on, expected, here = [], more = []]) => {
    const plan = planVolumes(
      of,
      node(on),
      { everywhere: here, here },
      { ...facts, volumes: [...facts.volumes, ...more] },
    )
    if (typeof expected === 'string') expect(plan).toBe(expected)
    else expect(plan).toMatchObject(expected)
  })
})

test('what is tried again and again is told once, of the last thousand', () => {
  const told: string[] = []
  const tell = onlyOnce({ record: (_about, _type, reason, message) => void told.push(`${reason} ${message}`) })
  const about = (uid: string) => ({ metadata: { uid } })
  for (const message of ['a', 'a', 'b', 'a']) tell(about('1'), 'Warning', 'Failed', message)
  tell(about('1'), 'Normal', 'Began', 'a')
  tell(about('2'), 'Warning', 'Failed', 'a')
  expect(told).toEqual(['Failed a', 'Failed b', 'Failed a', 'Began a', 'Failed a'])
  for (let count = 0; count < 1000; count += 1) tell(about(`n${count}`), 'Normal', 'Began', 'x')
  told.length = 0
  tell(about('1'), 'Warning', 'Failed', 'a')
  expect(told).toEqual(['Failed a'])
})

describe('attachments', () => {
  const disk = volume('disk', { csi: { driver: 'd', volumeHandle: 'h' }, claimRef: reference('uid-c') })
  const name = attachmentName('h', 'd', 'one')
  const attachment = (more: Partial<VolumeAttachment> = {}, on = 'one'): VolumeAttachment => ({
    metadata: { name: attachmentName('h', 'd', on) },
    spec: { attacher: 'd', nodeName: on, source: { persistentVolumeName: 'disk' } },
    status: { attached: true },
    ...more,
  })
  const running = pod('p', using('c'), { nodeName: 'one' })
  const over = { ...running, status: { phase: 'Succeeded' as const } }
  const free: CSIDriver = { metadata: { name: 'd' }, spec: { attachRequired: false } }
  const used = node('one', { volumesInUse: [uniqueName(disk)] })
  const steps = (more: object): object => ({ attach: [], busy: [], detach: [], listed: [], attached: [], ...more })

  test('are named as kubelets look for them', () => {
    expect(attachmentName('vol-1', 'disk.example.com', 'node-1')).toBe(
      'csi-19c42f43d69fa1f381555c6802be2757a07267e9705a867fd59297bc87dd0694',
    )
  })

  test.for<
    [
      name: string,
      pods: Pod[],
      attachments: VolumeAttachment[],
      drivers: CSIDriver[],
      expected: object,
      on?: Node | null,
      of?: PersistentVolume,
    ]
  >([
    ['one is wanted', [running], [], [], steps({ attach: [{ name, wanted: { volume: disk, pods: [running] } }] })],
    ['and is there', [running], [attachment()], [], steps({ attached: ['kubernetes.io/csi/d^h'] })],
    ['and is asked for', [running], [attachment({ status: { attached: false } })], [], steps({})],
    ['not of drivers that attach nothing', [running], [], [free], steps({})],
    ['not for pods that are over', [over], [], [], steps({})],
    [
      'not for volumes of other claims',
      [running],
      [],
      [],
      steps({}),
      node('one'),
      { ...disk, spec: { ...disk.spec, claimRef: reference('x') } },
    ],
    ['nobody needs it any more', [], [attachment()], [], steps({ detach: [attachment()] })],
    ['in use it stays', [], [attachment()], [], steps({ attached: ['kubernetes.io/csi/d^h'] }), used],
    ['it ends already', [], [attachment({ metadata: { name, deletionTimestamp: 'now' } })], [], steps({})],
    ['that of another maker is his', [], [attachment({ metadata: { name: 'mine' } })], [], steps({})],
    ['its node is gone', [running], [attachment()], [], steps({ detach: [attachment()] }), null],
    ['it is elsewhere', [running], [attachment({}, 'two')], [], steps({ busy: [{ volume: disk, pods: [running] }] })],
  ])('%s', ([, pods, attachments, drivers, expected, on = node('one'), of = disk]) => {
    const bound = claim({ volumeName: 'disk' }, { phase: 'Bound' })
    const facts = {
      pods,
      claimOf: () => bound,
      volumeOf: (one: string) => (one === 'disk' ? of : undefined),
      drivers,
      attachments,
      nodes: [],
    }
    expect(attachmentSteps('one', on ?? undefined, facts)).toEqual(expected)
  })

  describe('of disks, which nodes attach themselves', () => {
    const iscsi = { targetPortal: '10.0.0.1', iqn: 'iqn.2026-01.example:disk', lun: 2 }
    const key = 'kubernetes.io/iscsi/10.0.0.1:iqn.2026-01.example:disk:2'
    const bound = (modes: string[]) => volume('disk', { iscsi, accessModes: modes, claimRef: reference('uid-c') })
    const once = bound(['ReadWriteOnce'])
    const own: Pod = {
      ...running,
      spec: { containers: [], nodeName: 'one', volumes: [{ name: 'v', fc: { wwids: ['a', 'b'] } }] },
    }
    const listing = (name: string, more: Node['status'] = {}): Node =>
      node(name, { volumesAttached: [{ name: key, devicePath: '' }], ...more })

    test.for<[name: string, pods: Pod[], on: Node, others: Node[], of: PersistentVolume, expected: object]>([
      [
        'one is wanted',
        [running],
        node('one'),
        [],
        once,
        { listed: [{ volume: once, pods: [running] }], attached: [key] },
      ],
      ['it is there', [running], listing('one'), [], once, { attached: [key] }],
      [
        'it is elsewhere',
        [running],
        node('one'),
        [listing('two')],
        once,
        { busy: [{ volume: once, pods: [running] }] },
      ],
      ['many may have it', [running], node('one'), [listing('two')], bound(['ReadOnlyMany']), { attached: [key] }],
      ['nobody needs it any more', [], listing('one'), [], once, {}],
      ['in use it stays', [], listing('one', { volumesInUse: [key] }), [], once, { attached: [key] }],
      ['in use, but never attached', [], node('one', { volumesInUse: [key] }), [], once, {}],
      ['a pod has its own', [own], node('one'), [], once, { attached: ['kubernetes.io/fc/[a b]'] }],
    ])('%s', ([, pods, on, others, of, expected]) => {
      const facts = {
        pods,
        claimOf: (_: string, name: string) =>
          name === 'c' ? claim({ volumeName: 'disk' }, { phase: 'Bound' }) : undefined,
        volumeOf: () => of,
        drivers: [],
        attachments: [],
        nodes: [on, ...others],
      }
      const { listed, ...rest } = attachmentSteps('one', on, facts)
      expect({ listed, ...rest }).toMatchObject({ attach: [], detach: [], busy: [], attached: [], ...expected })
    })
  })
})
