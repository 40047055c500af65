// The streamed lists: as the plain ones, in parts.
import { deepStrictEqual, ok } from 'node:assert/strict'
import {
  ContainerState,
  PodSandboxState,
  StreamContainersRequest,
  StreamContainerStatsRequest,
  StreamImagesRequest,
  StreamPodSandboxesRequest,
  StreamPodSandboxStatsRequest,
} from '../gen/runtime.ts'
import type { Checks } from './suite-checks.ts'
import { openPod, pull } from './suite-pod.ts'
import { offered } from './suite-stats.ts'

/** All items of a stream, of which every message has at least one. */
async function all<Message, Item>(
  stream: AsyncIterable<Message>,
  items: (message: Message) => Item[],
): Promise<Item[]> {
  const collect = async (): Promise<Item[]> => {
    const found: Item[] = []
    for await (const message of stream) {
      ok(items(message).length > 0, 'an empty message')
      found.push(...items(message))
    }
    return found
  }
  return offered('streamed lists', collect())
}

export const listChecks: Checks = {
  async 'of sandboxes: by ID, state and labels; nothing for strangers'(runtime) {
    const { runtimeService } = runtime
    const list = async (filter: object): Promise<string[]> =>
      (
        await all(
          runtimeService.streamPodSandboxes(StreamPodSandboxesRequest.fromPartial({ filter })),
          ({ podSandboxes }) => podSandboxes,
        )
      ).map(({ id }) => id)
    await using pod = await openPod(runtime, { labels: { streamed: 'yes' } })
    const labelSelector = { streamed: 'yes' }
    deepStrictEqual(await list({ id: pod.id }), [pod.id])
    deepStrictEqual(await list({ labelSelector, state: { state: PodSandboxState.SANDBOX_READY } }), [pod.id])
    deepStrictEqual(await list({ labelSelector: { streamed: 'no' } }), [])
    deepStrictEqual(await list({ id: 'non-existent-id' }), [])
  },
  async 'of containers: by sandbox and state, and not when removed'(runtime) {
    const { runtimeService } = runtime
    const list = async (filter: object): Promise<string[]> =>
      (
        await all(
          runtimeService.streamContainers(StreamContainersRequest.fromPartial({ filter })),
          ({ containers }) => containers,
        )
      )
        .map(({ id }) => id)
        .toSorted()
    await using pod = await openPod(runtime)
    const [created, running] = [await pod.create(), await pod.run()]
    const podSandboxId = pod.id
    deepStrictEqual(await list({ podSandboxId }), [created, running].toSorted())
    deepStrictEqual(await list({ podSandboxId, state: { state: ContainerState.CONTAINER_RUNNING } }), [running])
    await runtimeService.removeContainer({ containerId: created })
    deepStrictEqual(await list({ podSandboxId }), [running])
  },
  async 'of container stats and pod stats: by ID and label'(runtime) {
    const { runtimeService } = runtime
    await using pod = await openPod(runtime, { labels: { streamed: 'stats' } })
    const id = await pod.run({ labels: { streamed: 'stats' } })
    for (const filter of [{ id }, { labelSelector: { streamed: 'stats' } }]) {
      const found = await all(
        runtimeService.streamContainerStats(StreamContainerStatsRequest.fromPartial({ filter })),
        ({ containerStats }) => containerStats,
      )
      deepStrictEqual(
        found.map(({ attributes }) => attributes?.id),
        [id],
      )
    }
    for (const filter of [{ id: pod.id }, { labelSelector: { streamed: 'stats' } }]) {
      const found = await all(
        runtimeService.streamPodSandboxStats(StreamPodSandboxStatsRequest.fromPartial({ filter })),
        ({ podSandboxStats }) => podSandboxStats,
      )
      deepStrictEqual(
        found.map(({ attributes }) => attributes?.id),
        [pod.id],
      )
    }
  },
  async 'of pod metrics'(runtime) {
    await using pod = await openPod(runtime)
    const found = await all(
      runtime.runtimeService.streamPodSandboxMetrics({}),
      ({ podSandboxMetrics }) => podSandboxMetrics,
    )
    ok(found.some(({ podSandboxId }) => podSandboxId === pod.id))
  },
  async 'of images, also by name'(runtime) {
    const id = await pull(runtime, runtime.image('busybox:1'))
    for (const filter of [undefined, { image: { image: runtime.image('busybox:1') } }]) {
      const found = await all(
        runtime.imageService.streamImages(StreamImagesRequest.fromPartial(filter ? { filter } : {})),
        ({ images }) => images,
      )
      ok(found.some((image) => image.id === id))
      if (filter) deepStrictEqual(found.length, 1)
    }
  },
}
