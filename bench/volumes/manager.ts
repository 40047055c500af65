// The volume manager of the kubelet alone, with an API server that is another process: pods come by a watch as a kubelet has them.
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createCsiDrivers, createCsiVolumes } from '@nodelet/csi-node'
import { pods, startInformer } from '@nodelet/kube-client'
import type { KubeClient } from '@nodelet/kube-client'
import { createVolumeManager } from '@nodelet/kubelet-core'
import type { VolumeManager } from '@nodelet/kubelet-core'
import type { Pod, Volume } from 'kubernetes-types/core/v1.d.ts'
import { systemClock } from '../../packages/kubelet-core/src/clock.ts'
import { silentLogger } from '../../packages/kubelet-core/src/log.ts'
import { createApiObjects } from '../../packages/kubelet-core/src/object-source.ts'
import { createAttachments } from '../../packages/kubelet-core/src/storage/attach.ts'
import { createVolumeExpander } from '../../packages/kubelet-core/src/storage/expander.ts'
import { createVolumeMeter } from '../../packages/kubelet-core/src/storage/meter.ts'
import { createStorageObjects } from '../../packages/kubelet-core/src/storage/objects.ts'
import { Times } from '../figures.ts'
import { cpuOf } from '../runtime/processes.ts'
import { changeConfig, makeConfig, makeObjects } from './cluster.ts'
import { bareEnd, configName, kinds } from './kinds.ts'

export interface AloneOptions {
  folder: string
  admin: KubeClient
  /** The node's own. */
  client: KubeClient
  /** By the drivers' names. */
  sockets: Readonly<Record<string, string>>
  signal: AbortSignal
}

export interface Alone extends AsyncDisposable {
  manager: VolumeManager
  /** Milliseconds of calls of drivers since it was asked last. */
  driverMs(): number
}

const nodeName = 'bench'

export async function openAlone({ folder, client, sockets, signal }: AloneOptions): Promise<Alone> {
  await using opening = new AsyncDisposableStack()
  let inDriver = 0
  const drivers = createCsiDrivers({ observed: ({ seconds }) => void (inDriver += seconds * 1000) })
  for (const [name, endpoint] of Object.entries(sockets)) {
    await drivers.register({ name, endpoint, versions: ['1.11.0'] }, signal)
  }
  const rootDir = join(folder, 'alone')
  const objects = createApiObjects({ client })
  opening.defer(async () => objects.close())
  const unasked = async (): Promise<never> => {
    throw new Error('no driver here asks for it')
  }
  const csi = await createCsiVolumes({ rootDir, nodeName, drivers, objects: { secret: unasked, token: unasked } })
  opening.defer(async () => csi.close())
  const storageObjects = createStorageObjects(client)
  const node = (): undefined => undefined
  const attachments = createAttachments({
    nodeName,
    objects: storageObjects,
    node,
    inUse: () => csi.inUse(),
    changed: () => {},
    clock: systemClock,
  })
  const quiet = { tell: () => {}, clock: systemClock, log: silentLogger }
  const meter = createVolumeMeter({ ...quiet, periodMs: 0, tellsHealth: false, measured: () => {} })
  opening.defer(() => meter.close())
  const expander = createVolumeExpander({
    ...quiet,
    nodeName,
    objects: storageObjects,
    csi,
    tellClaim: () => {},
    worked: () => {},
    periodMs: 60_000,
  })
  opening.defer(async () => expander.close())
  const storage = {
    objects: storageObjects,
    csi,
    attachments,
    isAttachedByController: false,
    meter,
    expander,
    node,
    tell: () => {},
    clock: systemClock,
  }
  const manager = createVolumeManager({ rootDir, nodeName, objects, storage })
  opening.defer(async () => manager.close())
  const done = opening.move()
  return {
    manager,
    driverMs() {
      const ms = inDriver
      inDriver = 0
      return ms
    },
    [Symbol.asyncDispose]: async () => done.disposeAsync(),
  }
}

const podOf = (name: string, volumes: readonly Volume[]): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default' },
  spec: {
    nodeName,
    containers: [
      {
        name: 'main',
        image: 'none',
        volumeMounts: volumes.map((volume) => ({ name: volume.name, mountPath: `/${volume.name}` })),
      },
    ],
    volumes: [...volumes],
  },
})

/** Of one kind of volume. */
export interface KindTimes {
  name: string
  /** `all` from the request for the pod on, `seen` until the watch shows it, then `mount` with `driver` in it; `unmount`; `bare`. */
  times: Times
}

/** In turns, so that what else the machine does meets all alike. */
export async function measureKinds(options: AloneOptions, alone: Alone, rounds: number): Promise<KindTimes[]> {
  const { folder, admin, client, signal } = options
  const host = join(folder, 'host')
  mkdirSync(host, { recursive: true })
  await using informer = startInformer(client, pods, { fieldSelector: `spec.nodeName=${nodeName}` })
  await informer.synced
  const coming = new Map<string, (pod: Pod) => void>()
  informer.subscribe({ added: (pod) => coming.get(pod.metadata?.name ?? '')?.(pod) })
  const all = kinds.map(({ name }) => ({ name, times: new Times() }))
  for (let round = -1; round < rounds; round += 1) {
    for (const [index, kind] of kinds.entries()) {
      signal.throwIfAborted()
      // The first is for warmth.
      const times = round < 0 ? new Times() : (all[index]?.times ?? new Times())
      const id = `${index}-${round + 1}`
      await makeObjects(admin, id)
      const { promise, resolve } = Promise.withResolvers<Pod>()
      coming.set(`pod-${id}`, resolve)
      alone.driverMs()
      const began = performance.now()
      const created = admin.create(pods, podOf(`pod-${id}`, kind.volume ? [kind.volume(id, host)] : []))
      const pod = await promise
      const seen = performance.now()
      await alone.manager.mount(pod, signal)
      const mounted = performance.now()
      times.add('all', mounted - began)
      times.add('seen', seen - began)
      times.add('mount', mounted - seen)
      times.add('driver', alone.driverMs())
      await created
      await times.of('unmount', async () => alone.manager.unmount(pod.metadata?.uid ?? ''))
      await admin.delete(pods, { name: `pod-${id}`, namespace: 'default' }, { gracePeriodSeconds: 0 })
      const bare = join(folder, 'bare')
      const { bare: work } = kind
      if (!work) continue
      await times.of('bare', async () => work(bare, host))
      bareEnd(bare)
    }
  }
  return all
}

/** Of so many volumes: until they are mounted, at rest in percent of one processor, and when one changes. */
export interface ManyFigures {
  volumes: number
  mountMs: number
  /** Of each volume mounted, in milliseconds. */
  mountCpu: Cpu
  rest: Cpu
  /** From the request on until a container would see it, in milliseconds. */
  changes: number[]
  /** Of one change, in milliseconds. */
  changeCpu: Cpu
}

/** The volume manager's process, and the API server's. */
export interface Cpu {
  ours: number
  server: number
}

const perPod = 10

/** Volumes of as many ConfigMaps, ten in a pod. */
export async function measureMany(
  { admin, signal }: AloneOptions,
  { manager }: Alone,
  { volumes, seconds, changes, serverPid }: { volumes: number; seconds: number; changes: number; serverPid: number },
): Promise<ManyFigures> {
  const ids = Array.from({ length: volumes }, (_, index) => `many-${volumes}-${index}`)
  const groups = Array.from({ length: Math.ceil(volumes / perPod) }, (_, at) =>
    ids.slice(at * perPod, (at + 1) * perPod),
  )
  for (const group of groups) await Promise.all(group.map(async (id) => makeConfig(admin, id)))
  const made = groups.map((group, index) => {
    const pod = podOf(
      `many-${index}`,
      group.map((id) => ({ name: id, configMap: { name: configName(id) } })),
    )
    return { ...pod, metadata: { ...pod.metadata, uid: `many-${volumes}-${index}` } }
  })
  const paths = new Map<string, string>()
  const began = performance.now()
  const mountCpu = await cpuDuring(serverPid, async () => {
    const mounted = await Promise.all(made.map(async (pod) => manager.mount(pod, signal)))
    for (const [id, path] of mounted.flatMap((each) => [...each])) paths.set(id, path)
  })
  const mountMs = performance.now() - began

  await sleep(500, undefined, { signal })
  const rest = await cpuDuring(serverPid, async () => sleep(seconds * 1000, undefined, { signal }))
  const took: number[] = []
  const cpu = await cpuDuring(serverPid, async () => {
    for (let at = 0; at < changes && volumes > 0; at += 1) {
      const id = ids[Math.floor((at * volumes) / changes)] ?? ''
      took.push(await changed(admin, id, join(paths.get(id) ?? '', 'key'), signal))
    }
  })
  for (const pod of made) await manager.unmount(pod.metadata.uid)
  const perVolume = (ms: number): number => (volumes > 0 ? ms / volumes : Number.NaN)
  const share = (ms: number): number => ms / (seconds * 10)
  return {
    volumes,
    mountMs,
    mountCpu: { ours: perVolume(mountCpu.ours), server: perVolume(mountCpu.server) },
    rest: { ours: share(rest.ours), server: share(rest.server) },
    changes: took,
    changeCpu: { ours: cpu.ours / changes, server: cpu.server / changes },
  }
}

async function cpuDuring(serverPid: number, work: () => Promise<unknown>): Promise<Cpu> {
  const [since, ofServer] = [process.cpuUsage(), cpuOf(serverPid)]
  await work()
  const { user, system } = process.cpuUsage(since)
  return { ours: (user + system) / 1000, server: (cpuOf(serverPid) - ofServer) * 1000 }
}

/** How often a file is looked at, in milliseconds. */
const lookMs = 2
let last = 0

/** Changes a ConfigMap and waits until a file shows it. @returns milliseconds */
export async function changed(admin: KubeClient, id: string, path: string, signal: AbortSignal): Promise<number> {
  const value = `changed ${(last += 1)}`
  const began = performance.now()
  await changeConfig(admin, id, value)
  while (readFileSync(path, 'utf8') !== value) await sleep(lookMs, undefined, { signal })
  return performance.now() - began
}
