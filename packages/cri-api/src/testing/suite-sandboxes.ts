// The life of a sandbox, and what its status says of it.
import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict'
import { isNotFound } from '../errors.ts'
import {
  ContainerConfig,
  ContainerState,
  ListPodSandboxRequest,
  PodSandboxConfig,
  PodSandboxState,
} from '../gen/runtime.ts'
import type { Checks, ValidationRuntime } from './suite-checks.ts'
import { openPod, podConfig, pull, sleeps } from './suite-pod.ts'

const { SANDBOX_READY, SANDBOX_NOTREADY } = PodSandboxState

async function listed({ runtimeService }: ValidationRuntime, filter: object): Promise<string[]> {
  const request = ListPodSandboxRequest.fromPartial({ filter })
  return (await runtimeService.listPodSandbox(request)).items.map(({ id }) => id)
}

export const sandboxChecks: Checks = {
  async 'is READY, listed, then NOTREADY, then gone'(runtime) {
    const { runtimeService } = runtime
    await using pod = await openPod(runtime)
    const podSandboxId = pod.id
    strictEqual((await pod.status()).state, SANDBOX_READY)
    deepStrictEqual(await listed(runtime, { id: podSandboxId }), [podSandboxId])
    await runtimeService.stopPodSandbox({ podSandboxId })
    strictEqual((await pod.status()).state, SANDBOX_NOTREADY)
    await runtimeService.removePodSandbox({ podSandboxId })
    deepStrictEqual(await listed(runtime, { id: podSandboxId }), [])
    await rejects(pod.status(), isNotFound)
  },
  async 'keeps metadata, labels and annotations, in status and list'(runtime) {
    const labels = { foo: 'bar', 'io.kubernetes.pod.name': 'pod' }
    const annotations = { abc: 'def', 'example.com/text': 'two\nlines' }
    await using pod = await openPod(runtime, { labels, annotations })
    const { metadata } = pod.config
    const status = await pod.status()
    deepStrictEqual([status.metadata, status.labels, status.annotations], [metadata, labels, annotations])
    const { items } = await runtime.runtimeService.listPodSandbox(
      ListPodSandboxRequest.fromPartial({ filter: { id: pod.id } }),
    )
    const [item] = items
    deepStrictEqual([item?.metadata, item?.labels, item?.annotations], [metadata, labels, annotations])
    deepStrictEqual([item?.createdAt, item?.runtimeHandler], [status.createdAt, status.runtimeHandler])
    ok(status.createdAt > 0n)
    strictEqual(status.runtimeHandler, runtime.handler)
  },
  async 'is listed by ID prefix, state and labels, all of them'(runtime) {
    await using pod = await openPod(runtime, { labels: { only: 'this' } })
    await using stopped = await openPod(runtime, { labels: { only: 'this', and: 'that' } })
    await runtime.runtimeService.stopPodSandbox({ podSandboxId: stopped.id })
    const labelSelector = { only: 'this' }
    deepStrictEqual(await listed(runtime, { id: pod.id.slice(0, 13) }), [pod.id])
    deepStrictEqual((await listed(runtime, { labelSelector })).toSorted(), [pod.id, stopped.id].toSorted())
    deepStrictEqual(await listed(runtime, { labelSelector, state: { state: SANDBOX_READY } }), [pod.id])
    deepStrictEqual(await listed(runtime, { labelSelector, state: { state: SANDBOX_NOTREADY } }), [stopped.id])
    deepStrictEqual(await listed(runtime, { labelSelector: { ...labelSelector, and: 'that' } }), [stopped.id])
    deepStrictEqual(await listed(runtime, { labelSelector: { only: 'other' } }), [])
    deepStrictEqual(await listed(runtime, { id: 'non-existent-id' }), [])
  },
  async 'verbose status has its configuration and network as JSON'(runtime) {
    await using pod = await openPod(runtime)
    const request = { podSandboxId: pod.id, verbose: true }
    const { info } = await runtime.runtimeService.podSandboxStatus(request)
    const shown = JSON.parse(info['info'] ?? '{}') as Record<string, unknown>
    deepStrictEqual((shown['config'] as { metadata?: { uid?: string } }).metadata?.uid, pod.config.metadata?.uid)
    ok(shown['cniResult'] && 'runtimeHandler' in shown && 'netNamespaceClosed' in shown, Object.keys(shown).join())
    deepStrictEqual((await runtime.runtimeService.podSandboxStatus({ ...request, verbose: false })).info, {})
  },
  async 'stopping it ends its containers, which stay until it is removed'(runtime) {
    const { runtimeService } = runtime
    await using pod = await openPod(runtime)
    const [running, created] = [await pod.run(), await pod.create()]
    await runtimeService.stopPodSandbox({ podSandboxId: pod.id })
    const { state, exitCode } = await pod.container(running)
    deepStrictEqual([state, exitCode], [ContainerState.CONTAINER_EXITED, 137])
    await rejects(runtimeService.startContainer({ containerId: created }))
    await rejects(pod.create())
    await runtimeService.removePodSandbox({ podSandboxId: pod.id })
    for (const id of [running, created]) await rejects(pod.container(id), isNotFound)
  },
  async 'without metadata, or of an unknown handler, is refused'(runtime) {
    const { runtimeService } = runtime
    const config = podConfig(runtime)
    const bare = PodSandboxConfig.fromPartial({ ...config, metadata: undefined })
    await rejects(runtimeService.runPodSandbox({ config: bare, runtimeHandler: runtime.handler }))
    await rejects(runtimeService.runPodSandbox({ config, runtimeHandler: 'no-such-handler' }), /no-such-handler/)
    deepStrictEqual(await listed(runtime, { labelSelector: config.labels, id: 'non-existent-id' }), [])
  },
  async 'a name that is taken is refused, and free again after the removal'(runtime) {
    const { runtimeService, handler } = runtime
    await using pod = await openPod(runtime)
    await runtimeService.stopPodSandbox({ podSandboxId: pod.id })
    const config = { ...pod.config, hostname: 'another' }
    await rejects(runtimeService.runPodSandbox({ config, runtimeHandler: handler }))
    await runtimeService.removePodSandbox({ podSandboxId: pod.id })
    const again = await runtimeService.runPodSandbox({ config, runtimeHandler: handler })
    await runtimeService.removePodSandbox(again)
  },
  async 'the same call twice at once makes one sandbox, and one container'(runtime) {
    const { runtimeService, handler } = runtime
    const config = podConfig(runtime)
    const runs = [0, 1].map(async () => runtimeService.runPodSandbox({ config, runtimeHandler: handler }))
    const made = await Promise.allSettled(runs)
    try {
      const ids = made.map((one) => (one.status === 'fulfilled' ? one.value.podSandboxId : String(one.reason)))
      strictEqual(ids[0], ids[1])
      const image = runtime.image('busybox:1')
      await pull(runtime, image)
      const container = ContainerConfig.fromPartial({
        metadata: { name: 'once' },
        image: { image },
        command: [...sleeps],
      })
      const request = { podSandboxId: ids[0] ?? '', config: container, sandboxConfig: config }
      const [first, second] = await Promise.all([0, 1].map(async () => runtimeService.createContainer(request)))
      strictEqual(first?.containerId, second?.containerId)
    } finally {
      for (const one of made) if (one.status === 'fulfilled') await runtimeService.removePodSandbox(one.value)
    }
  },
  async 'the first letters of an ID are enough in every call'(runtime) {
    const { runtimeService } = runtime
    await using pod = await openPod(runtime)
    const id = await pod.create()
    const containerId = id.slice(0, 20)
    const podSandboxId = pod.id.slice(0, 20)
    await runtimeService.startContainer({ containerId })
    strictEqual(await pod.output(containerId, 'echo', 'hi'), 'hi\n')
    strictEqual((await pod.container(containerId)).id, id)
    strictEqual((await runtimeService.containerStats({ containerId })).stats?.attributes?.id, id)
    await runtimeService.stopContainer({ containerId, timeout: 0n })
    await runtimeService.removeContainer({ containerId })
    strictEqual((await runtimeService.podSandboxStatus({ podSandboxId, verbose: false })).status?.id, pod.id)
    await runtimeService.stopPodSandbox({ podSandboxId })
    await runtimeService.removePodSandbox({ podSandboxId })
    deepStrictEqual(await listed(runtime, { id: pod.id }), [])
  },
  async 'eight started at once, each with an address of its own'(runtime) {
    await using pods = new AsyncDisposableStack()
    const started = await Promise.allSettled(Array.from({ length: 8 }, async () => openPod(runtime)))
    for (const one of started) if (one.status === 'fulfilled') pods.use(one.value)
    const addresses = []
    for (const one of started) {
      if (one.status === 'rejected') throw one.reason as Error
      addresses.push((await one.value.status()).network?.ip)
    }
    strictEqual(new Set(addresses).size, 8)
  },
  async 'several containers in one pod: each with its output and log'(runtime) {
    await using pod = await openPod(runtime)
    const ids = []
    for (const name of ['one', 'two']) {
      ids.push(
        await pod.run({
          command: ['sh', '-c', `echo ${name}; sleep 600`],
          envs: [{ key: 'NAME', value: Buffer.from(name) }],
        }),
      )
    }
    const [first = '', second = ''] = ids
    strictEqual(await pod.output(first, 'sh', '-c', 'echo $NAME'), 'one\n')
    strictEqual(await pod.output(second, 'sh', '-c', 'echo $NAME'), 'two\n')
    deepStrictEqual(await pod.log(first), ['stdout F one'])
    deepStrictEqual(await pod.log(second), ['stdout F two'])
  },
}
