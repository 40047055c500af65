// Certificates of pods in their volumes: a real API server, real signatures, real mounts.
import { execFileSync } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  createKubeClient,
  type KubeClient,
  loadKubeconfig,
  nodes,
  podCertificateRequests,
  pods,
} from '@nodelet/kube-client'
import { readMountInfo, unmount } from '@nodelet/linux'
import type { Node, Pod, PodSpec } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { type Cluster, startCluster } from '../../local-cluster/src/index.ts'
import { createPodCertificates, type PodCertificates } from '../src/certificate/pod-certificates.ts'
import { podKeyTypes } from '../src/certificate/pod-key.ts'
import type { Clock } from '../src/clock.ts'
import type { NodeletEvent } from '../src/events.ts'
import { silentLogger } from '../src/log.ts'
import { noObjects } from '../src/object-source.ts'
import { createVolumeManager } from '../src/volume/manager.ts'
import type { VolumeManager } from '../src/volume/types.ts'
import { type PodSigner, signerName, startSigner } from './pod-signer.ts'
import { until } from './until.ts'

const nodeName = 'node-1'
const namespace = 'default'
const minuteMs = 60_000

/** Real time, which can be put forward: whoever waits for less is called at once. */
function createClock(): Clock & { forward(ms: number): void } {
  let offsetMs = 0
  const waiting = new Set<{ dueMs: number; fire: () => void }>()
  const now = (): number => Date.now() + offsetMs
  return {
    now,
    after(ms, call) {
      const timer = setTimeout(() => one.fire(), Math.min(ms, 2 ** 31 - 1))
      const cancel = (): void => {
        waiting.delete(one)
        clearTimeout(timer)
      }
      const one = {
        dueMs: now() + ms,
        fire() {
          cancel()
          call()
        },
      }
      waiting.add(one)
      return cancel
    },
    forward(ms) {
      offsetMs += ms
      for (const one of [...waiting].filter(({ dueMs }) => dueMs <= now())) one.fire()
    },
  }
}

let folder: string
let cluster: Cluster
let admin: KubeClient
let own: KubeClient
let signer: PodSigner
let node: Node | undefined
let nodeAsked = 0
let clock: ReturnType<typeof createClock>
let certificates: PodCertificates
let volumes: VolumeManager
let told: (NodeletEvent & { pod: string })[]
const undo = new AsyncDisposableStack()

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-certificates-'))
  undo.defer(() => rmSync(folder, { recursive: true }))
  cluster = await startCluster({ dataDir: join(folder, 'cluster'), port: 0, nodeName, nodeIPs: ['127.0.0.1'] })
  undo.defer(async () => cluster.close())
  admin = undo.use(createKubeClient(await loadKubeconfig(cluster.kubeconfigs.admin)))
  own = undo.use(createKubeClient(await loadKubeconfig(cluster.kubeconfigs.kubelet)))
  node = await admin.create(nodes, { metadata: { name: nodeName } })
  signer = undo.use(await startSigner(admin))
  writeFileSync(join(folder, 'root.pem'), signer.root)
  undo.defer(async () => {
    const below = (await readMountInfo()).filter(({ mountPoint }) => mountPoint.startsWith(`${folder}/`))
    for (const { mountPoint } of below.toReversed()) unmount(mountPoint, { detach: true })
  })
})
afterAll(async () => undo.disposeAsync())
beforeEach(() => {
  signer.answer = 'issue'
  signer.seen.length = 0
  nodeAsked = 0
  clock = createClock()
  open()
})
afterEach(async () => {
  await volumes.removeOrphans(() => false)
  await close()
})

const nodeNow = (): Node | undefined => {
  nodeAsked += 1
  return node
}

/** What a kubelet has. */
function open(client: typeof own = own): void {
  told = []
  const record = ({ metadata }: Pod, event: NodeletEvent): void =>
    void told.push({ ...event, pod: metadata?.name ?? '' })
  const options = { nodeName, node: nodeNow, events: { record }, clock, log: silentLogger }
  certificates = createPodCertificates({ client, ...options })
  const rootDir = join(folder, 'kubelet')
  volumes = createVolumeManager({ rootDir, nodeName, objects: noObjects, certificates, clock })
}

async function close(): Promise<void> {
  await volumes.close()
  await certificates[Symbol.asyncDispose]()
}

const allPaths = { credentialBundlePath: 'bundle.pem', keyPath: 'private/key.pem', certificateChainPath: 'chain.pem' }

async function createPod(name: string, source: object = {}, spec: Partial<PodSpec> = {}): Promise<Pod> {
  const podCertificate = { signerName, keyType: 'ED25519', ...allPaths, ...source }
  const label = { path: 'name', fieldRef: { fieldPath: 'metadata.name' } }
  return admin.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      nodeName,
      serviceAccountName: 'default',
      automountServiceAccountToken: false,
      containers: [{ name: 'c', image: 'i', volumeMounts: [{ name: 'v', mountPath: '/v' }] }],
      volumes: [
        { name: 'v', projected: { sources: [{ podCertificate }, { downwardAPI: { items: [label] } }] } as object },
      ],
      ...spec,
    },
  })
}

const mountedOnce = async (pod: Pod): Promise<string> => (await volumes.mount(pod)).get('v') ?? ''

/** As a worker does: on a busy machine a key of RSA takes longer than a turn waits. */
async function mounted(pod: Pod): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const stop = certificates.onChange((uid) => {
    if (uid === uidOf(pod)) resolve()
  })
  try {
    return await mountedOnce(pod)
  } catch (error) {
    if (!(error as Error).message.includes('not issued yet')) throw error
    await promise
    return await mountedOnce(pod)
  } finally {
    stop()
  }
}
const uidOf = ({ metadata }: Pod): string => metadata?.uid ?? ''
const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8)
const read = (path: string, name: string): string => readFileSync(join(path, name), 'utf8')

/** The pod's own certificate, once key, chain and both together are found to fit. */
function checked(path: string): X509Certificate {
  const [key, chain] = [read(path, allPaths.keyPath), read(path, allPaths.certificateChainPath)]
  expect(read(path, allPaths.credentialBundlePath)).toBe(key + chain)
  const leaf = new X509Certificate(chain)
  expect(leaf.checkPrivateKey(createPrivateKey(key))).toBe(true)
  return leaf
}

it.each(podKeyTypes)(
  '%s: key, chain and both are in the volume, and the authority vouches for them',
  async (keyType) => {
    const pod = await createPod(keyType.toLowerCase(), { keyType, userAnnotations: { 'example.com/who': 'me' } })
    const path = await mounted(pod)
    expect(checked(path).subject).toBe(`CN=${keyType.toLowerCase()}`)
    const chain = join(path, allPaths.certificateChainPath)
    const args = ['verify', '-CAfile', join(folder, 'root.pem'), '-untrusted', chain, chain]
    expect(execFileSync('openssl', args, { encoding: 'utf8' })).toContain('OK')
    expect(read(path, allPaths.keyPath)).toMatch(/^-----BEGIN PRIVATE KEY-----\n/)
    expect(read(path, 'name')).toBe(keyType.toLowerCase())
    expect(signer.seen).toMatchObject([
      {
        metadata: {
          name: expect.stringMatching(/^req-/),
          namespace,
          ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: pod.metadata?.name, uid: uidOf(pod) }],
        },
        spec: {
          signerName,
          podName: pod.metadata?.name,
          podUID: uidOf(pod),
          serviceAccountName: 'default',
          serviceAccountUID: expect.stringMatching(/^[-0-9a-f]{36}$/),
          nodeName,
          nodeUID: node?.metadata?.uid,
          maxExpirationSeconds: 86_400,
          unverifiedUserAnnotations: { 'example.com/who': 'me' },
        },
      },
    ])
  },
)

it('the key is in memory only, and for the one user that the pod has', async () => {
  const all = await mounted(await createPod('all'))
  expect(['bundle.pem', 'private/key.pem', 'chain.pem'].map((name) => modeOf(join(all, name)))).toEqual([
    '644',
    '644',
    '644',
  ])
  const mounts = (await readMountInfo()).filter(({ mountPoint }) => mountPoint === all)
  expect(mounts).toMatchObject([{ type: 'tmpfs' }])
  const securityContext = { runAsUser: 1234 }
  const path = await mounted(await createPod('private', { keyPath: '' }, { securityContext }))
  const { uid } = statSync(join(path, 'bundle.pem'))
  expect([modeOf(join(path, 'bundle.pem')), uid, modeOf(join(path, 'name'))]).toEqual(['600', 1234, '644'])
})

it('when it is time there is another one: key and certificates change at once, and until then the old ones stay', async () => {
  const pod = await createPod('fresh')
  const path = await mounted(pod)
  const first = checked(path)
  const data = readlinkSync(join(path, '..data'))
  signer.answer = 'wait'
  clock.forward(66 * minuteMs)
  await until(() => signer.seen.length === 2)
  // Whoever mounts meanwhile has the old one.
  expect(await mounted(pod)).toBe(path)
  expect([checked(path).fingerprint256, readlinkSync(join(path, '..data'))]).toEqual([first.fingerprint256, data])
  clock.forward(10 * minuteMs)
  expect(told).toMatchObject([{ pod: 'fresh', type: 'Warning', reason: 'CertificateOverdueForRefresh' }])
  expect(certificates.states()).toContainEqual({ signerName, state: 'overdue_for_refresh' })
  clock.forward(60 * minuteMs)
  expect(told[1]).toEqual({
    pod: 'fresh',
    type: 'Warning',
    reason: 'CertificateExpired',
    message: 'PodCertificate expired',
  })
  expect(certificates.states()).toContainEqual({ signerName, state: 'expired' })
  // The signer has lost it: it is asked again, and answers.
  signer.answer = 'issue'
  const { name = '' } = signer.seen[1]?.metadata ?? {}
  await admin.delete(podCertificateRequests, { namespace, name })
  await until(() => readlinkSync(join(path, '..data')) !== data)
  expect(checked(path).fingerprint256).not.toBe(first.fingerprint256)
  expect(read(path, 'name')).toBe('fresh')
})

it.each([
  ['deny', 'Denied', 'was denied', 'UnsupportedKeyType'],
  ['fail', 'Failed', 'failed', 'Broken'],
] as const)('%s: it is told, and not asked again', async (answer, type, words, reason) => {
  signer.answer = answer
  const pod = await createPod(`to-${answer}`)
  const permanent = `PodCertificateRequest was permanently ${type.toLowerCase()}: reason="${reason}" message="by the \\"${answer}\\" rule"`
  const message = `MountVolume.SetUp failed for volume "v" : ${permanent}`
  await expect(mounted(pod)).rejects.toMatchObject({ reason: 'FailedMount', message })
  signer.answer = 'issue'
  await expect(mounted(pod)).rejects.toMatchObject({ message })
  const request = `${namespace}/${signer.seen[0]?.metadata?.name}`
  const said = `PodCertificateRequest ${request} ${words}, reason="${reason}", message="by the \\"${answer}\\" rule"`
  expect([signer.seen.length, told]).toEqual([
    1,
    [{ pod: `to-${answer}`, type: 'Warning', reason: type, message: said }],
  ])
  expect(certificates.states()).toContainEqual({ signerName, state: type.toLowerCase() })
  // Another pod of that name is another one.
  await volumes.unmount(uidOf(pod))
  checked(await mounted(pod))
})

it('while there is none the pod waits, and is told when that takes long; a deleted request is made again', async () => {
  signer.answer = 'wait'
  const pod = await createPod('patient')
  const woken: string[] = []
  const stop = certificates.onChange((uid) => woken.push(uid))
  const failed = expect(mountedOnce(pod)).rejects.toThrow('failed for volume "v" : credential bundle is not issued yet')
  await until(() => signer.seen.length === 1)
  clock.forward(3000)
  await failed
  expect(certificates.states()).toContainEqual({ signerName, state: 'not_yet_issued' })
  signer.answer = 'issue'
  await admin.delete(podCertificateRequests, { namespace, name: signer.seen[0]?.metadata?.name ?? '' })
  await until(() => woken.includes(uidOf(pod)))
  checked(await mounted(pod))
  expect(signer.seen.length).toBe(2)
  stop()
})

it('what cannot be asked says why, and is asked again', async () => {
  const pod = await createPod('early')
  const before = node
  node = undefined
  const waiting = mountedOnce(pod)
  await until(() => nodeAsked > 0)
  clock.forward(3000)
  await expect(waiting).rejects.toThrow(
    'credential bundle is not issued yet: while getting node object from local cache: node "node-1" not found',
  )
  node = before
  clock.forward(minuteMs)
  checked(await mounted(pod))
})

it('a pod that goes is not asked for any more; after a restart everything is asked for anew', async () => {
  const pod = await createPod('restarted')
  const path = await mounted(pod)
  const { fingerprint256 } = checked(path)
  await close()
  signer.answer = 'wait'
  open()
  const waiting = expect(mountedOnce(pod)).rejects.toThrow('not issued yet')
  await until(() => signer.seen.length === 2)
  clock.forward(3000)
  await waiting
  // What is there stays until there is another one.
  expect(checked(path).fingerprint256).toBe(fingerprint256)
  await volumes.unmount(uidOf(pod))
  expect(certificates.states()).toEqual([])
  await admin.delete(podCertificateRequests, { namespace, name: signer.seen[1]?.metadata?.name ?? '' })
  clock.forward(24 * 60 * minuteMs)
  signer.answer = 'issue'
  // By the clock of this node its certificate is old already: nobody is asked all the time for that.
  checked(await mounted(await createPod('other')))
  expect(certificates.states()).toEqual([{ signerName, state: 'expired' }])
  expect(signer.seen.map(({ spec }) => spec.podName)).toEqual(['restarted', 'restarted', 'other'])
})

it('each source has a key of its own, and asks in its own words', async () => {
  const source = { signerName, keyType: 'ECDSAP256' }
  const sources = [
    { podCertificate: { ...source, credentialBundlePath: 'a.pem' } },
    { podCertificate: { ...source, credentialBundlePath: 'b.pem', maxExpirationSeconds: 7200 } },
  ]
  const path = await mounted(
    await createPod('twice', {}, { volumes: [{ name: 'v', projected: { sources } as object }] }),
  )
  const keys = ['a.pem', 'b.pem'].map((name) => createPrivateKey(read(path, name)))
  expect(keys.map((key, index) => key.equals(keys[1 - index] ?? key))).toEqual([false, false])
  expect(new Set(signer.seen.map(({ spec }) => spec.maxExpirationSeconds))).toEqual(new Set([7200, 86_400]))
})

it('a request that is gone before anybody looked is missed after a while', async () => {
  await close()
  signer.answer = 'wait'
  let isLost = false
  const client: typeof own = {
    ...own,
    async create(resource, object, options) {
      const made = await own.create(resource, object, options)
      if (isLost) return made
      await admin.delete(podCertificateRequests, { namespace, name: made.metadata?.name ?? '' })
      isLost = true
      return made
    },
  }
  open(client)
  const pod = await createPod('lost')
  const waiting = expect(mountedOnce(pod)).rejects.toThrow('not issued yet')
  await until(() => isLost)
  clock.forward(3000)
  await waiting
  signer.answer = 'issue'
  // Not before: the watch may be late.
  clock.forward(9 * minuteMs)
  await until(() => signer.seen.length === 1)
  expect(certificates.states()).toEqual([{ signerName, state: 'not_yet_issued' }])
  clock.forward(7 * minuteMs)
  checked(await mounted(pod))
  expect(signer.seen.length).toBe(2)
})

it('without the gate it is refused', async () => {
  const rootDir = join(folder, 'without')
  await using stack = new AsyncDisposableStack()
  const without = createVolumeManager({ rootDir, nodeName, objects: noObjects })
  stack.defer(async () => without.close())
  const refused = 'podCertificate projection needs an API server and the feature gate PodCertificateRequest'
  await expect(without.mount(await createPod('without'))).rejects.toThrow(refused)
})
