// The demo: a web app on a node, shown from its image to calls of its Service.
import { join } from 'node:path'
import {
  configMaps,
  deployments,
  endpointSlices,
  isAlreadyExists,
  isNotFound,
  pods,
  replicaSets,
  services,
  startInformer,
} from '@nodelet/kube-client'
import type { KubeClient, KubeObject, Resource } from '@nodelet/kube-client'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { NodeHandle } from '../compose.ts'
import { CommandError } from '../errors.ts'
import { callFromHost, callFromPod, callMany } from './calls.ts'
import { makeDemoImage } from './image.ts'
import { demoConfigMap, demoDeployment, demoImage, demoName, demoNamespace, demoService } from './objects.ts'
import type { Screen } from './screen.ts'
import { nextRow, tableOf } from './table.ts'
import type { PodRow } from './table.ts'

/** How long the pods may take until all are ready, in milliseconds. */
const patienceMs = 60_000
const calls = 10
const labelSelector = `app=${demoName}`

/** The parts of a node that the demo needs. */
export type DemoNode = Pick<NodeHandle, 'config' | 'runtime' | 'images' | 'proxier'> & { client: KubeClient }

/** @throws CommandError when the app does not come to run; the caller's signal ends it at any point */
export async function runDemo(node: DemoNode, screen: Screen, signal: AbortSignal): Promise<void> {
  const { client, images, runtime } = node
  if (!images || !runtime) throw new CommandError('the demo needs the runtime in this process', 'run it with all parts')
  await step(screen, `image ${demoImage} from this machine's busybox`, async () => {
    const folder = await makeDemoImage(join(node.config.root, 'demo-image'), demoImage)
    const [image] = await images.importArchive(folder, { reference: demoImage, signal })
    return `${image?.id.slice(7, 19)}, ${((image?.size ?? 0) / 1024).toFixed(0)} KiB`
  })
  await step(screen, `Deployment, Service and ConfigMap "${demoName}"`, async () => {
    await ensure(client, configMaps, demoConfigMap, signal)
    await ensure(client, services, demoService, signal)
    await ensure(client, deployments, demoDeployment, signal)
    return 'created'
  })
  const ready = await showPods(client, screen, signal)
  await serviceKnows(client, ready.length, signal)
  await node.proxier?.synced()
  const service = await client.get(services, { namespace: demoNamespace, name: demoName }, { signal })
  const url = `http://${service.spec?.clusterIP}/cgi-bin/who`
  const [first] = ready
  const containerId = first?.status?.containerStatuses?.[0]?.containerID?.replace(/^.*:\/\//, '')
  if (!containerId)
    throw new CommandError('no pod of the demo has a container', `kubectl describe pods -l ${labelSelector}`)
  screen.print()
  screen.print(`${calls} calls of ${url}`)
  const places: [string, () => Promise<string>][] = [
    ['from this host', async () => callFromHost(url, signal)],
    [`from pod ${first?.metadata?.name}`, async () => callFromPod(runtime.runtimeService, containerId, url, signal)],
  ]
  for (const [place, call] of places) {
    const since = performance.now()
    const answers = await callMany(calls, call, signal)
    screen.print(`  ${place} (${(performance.now() - since).toFixed(0)} ms)`)
    for (const [who, times] of answers) screen.print(`    ${who}  ${'●'.repeat(times)} ${times}`)
  }
}

/** Removes what the demo made and waits until its pods are gone. */
export async function removeDemo(client: KubeClient, signal: AbortSignal): Promise<void> {
  const ref = { namespace: demoNamespace, name: demoName }
  const made: Resource<KubeObject>[] = [deployments, services, configMaps]
  for (const resource of made) {
    try {
      await client.delete(resource, ref, { propagationPolicy: 'Background', signal })
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }
  for (const resource of [pods, replicaSets] as Resource<KubeObject>[]) {
    await untilNone(client, resource, { namespace: demoNamespace, labelSelector }, signal)
  }
  await untilNone(
    client,
    endpointSlices,
    { namespace: demoNamespace, labelSelector: `kubernetes.io/service-name=${demoName}` },
    signal,
  )
}

async function untilNone(
  client: KubeClient,
  resource: Resource<KubeObject>,
  selection: { namespace: string; labelSelector: string },
  signal: AbortSignal,
): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)])
  await using informer = startInformer(client, resource, { ...selection, signal: limit, onError: () => undefined })
  await informer.synced
  const none = Promise.withResolvers<void>()
  const look = (): void => {
    if (informer.list().length === 0) none.resolve()
  }
  informer.subscribe({ deleted: look })
  limit.addEventListener('abort', () => none.reject(limit.reason as Error))
  look()
  await none.promise
}

async function step(screen: Screen, title: string, work: () => Promise<string>): Promise<void> {
  const since = performance.now()
  const note = await work()
  screen.print(`✓ ${title}: ${note} (${(performance.now() - since).toFixed(0)} ms)`)
}

async function ensure<T extends KubeObject>(
  client: KubeClient,
  resource: Resource<T>,
  object: T,
  signal: AbortSignal,
): Promise<void> {
  try {
    await client.create(resource, object, { signal })
  } catch (error) {
    if (!isAlreadyExists(error)) throw error // a former demo that was not removed: its objects are the same
  }
}

/** Waits until the Service has that many ready endpoints, so that the calls find all of them. */
async function serviceKnows(client: KubeClient, count: number, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)])
  await using informer = startInformer(client, endpointSlices, {
    namespace: demoNamespace,
    labelSelector: `kubernetes.io/service-name=${demoName}`,
    signal: limit,
    onError: () => undefined, // tried again until the limit
  })
  const known = Promise.withResolvers<void>()
  const look = (): void => {
    const endpoints = informer.list().flatMap((slice) => slice.endpoints)
    if (endpoints.filter(({ conditions }) => conditions?.ready).length >= count) known.resolve()
  }
  informer.subscribe({ added: look, updated: look })
  limit.addEventListener('abort', () => known.reject(limit.reason as Error))
  await known.promise
}

/** Draws the table until every replica is ready. */
async function showPods(client: KubeClient, screen: Screen, signal: AbortSignal): Promise<Pod[]> {
  const limit = AbortSignal.timeout(patienceMs)
  const done = Promise.withResolvers<Pod[]>()
  const rows = new Map<string, PodRow>()
  await using informer = startInformer(client, pods, {
    namespace: demoNamespace,
    labelSelector,
    signal,
    onError: (error) => screen.print(`watch of pods: ${(error as Error).message}`),
  })
  const changed = (pod: Pod): void => {
    const uid = pod.metadata?.uid ?? ''
    rows.set(uid, nextRow(rows.get(uid), pod, performance.now()))
    draw()
  }
  const draw = (): void => {
    screen.draw(tableOf([...rows.values()]))
    const running = informer.list().filter((pod) => rows.get(pod.metadata?.uid ?? '')?.reached.ready !== undefined)
    if (running.length === demoDeployment.spec?.replicas) done.resolve(running)
  }
  informer.subscribe({
    added: changed,
    updated: changed,
    deleted: (pod) => {
      rows.delete(pod.metadata?.uid ?? '')
      draw()
    },
  })
  signal.addEventListener('abort', () => done.reject(signal.reason as Error))
  limit.addEventListener('abort', () =>
    done.reject(
      new CommandError(
        `the demo's pods were not ready within ${patienceMs / 1000} s`,
        `kubectl describe pods -l ${labelSelector} tells what they wait for`,
      ),
    ),
  )
  const ready = await done.promise
  screen.keep()
  return ready
}
