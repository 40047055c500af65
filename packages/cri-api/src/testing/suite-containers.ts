// The life of a container, and what its status says of it.
import { deepStrictEqual, match, ok, rejects, strictEqual } from 'node:assert/strict'
import { ContainerConfig, ContainerState, ListContainersRequest } from '../gen/runtime.ts'
import { type Checks, eventually, type ValidationRuntime } from './suite-checks.ts'
import { openPod, pull, sleeps } from './suite-pod.ts'

const { CONTAINER_CREATED, CONTAINER_EXITED, CONTAINER_RUNNING } = ContainerState
const listed = async ({ runtimeService }: ValidationRuntime, id: string, podSandboxId = ''): Promise<string[]> =>
  (
    await runtimeService.listContainers(ListContainersRequest.fromPartial({ filter: { id, podSandboxId } }))
  ).containers.map((one) => one.id)

export const containerChecks: Checks = {
  async 'created, running and exited ones are removed, and not listed any more'(runtime) {
    const { runtimeService } = runtime
    await using pod = await openPod(runtime)
    const created = await pod.create()
    const running = await pod.run()
    const stopped = await pod.run()
    await runtimeService.stopContainer({ containerId: stopped, timeout: 60n })
    strictEqual((await pod.container(stopped)).state, CONTAINER_EXITED)
    for (const containerId of [created, running, stopped]) {
      deepStrictEqual(await listed(runtime, containerId), [containerId])
      await runtimeService.removeContainer({ containerId })
      deepStrictEqual(await listed(runtime, containerId), [])
    }
  },
  async 'status and list keep metadata, labels and annotations as given'(runtime) {
    await using pod = await openPod(runtime)
    const metadata = { name: 'kept', attempt: 3 }
    const labels = { 'io.kubernetes.container.name': 'kept', 'example.com/ümlaut': '' }
    const annotations = { 'example.com/text': 'two\nlines "quoted"' }
    const id = await pod.create({ metadata, labels, annotations })
    const status = await pod.container(id)
    deepStrictEqual([status.metadata, status.labels, status.annotations], [metadata, labels, annotations])
    const filter = { id }
    const request = ListContainersRequest.fromPartial({ filter })
    const [listing] = (await runtime.runtimeService.listContainers(request)).containers
    deepStrictEqual([listing?.metadata, listing?.labels, listing?.annotations], [metadata, labels, annotations])
    deepStrictEqual([listing?.podSandboxId, listing?.createdAt], [pod.id, status.createdAt])
  },
  async 'status names the image as asked, its digest, and where the log is'(runtime) {
    await using pod = await openPod(runtime)
    const image = runtime.image('busybox:1')
    const id = await pod.create({ logPath: 'main/0.log' })
    const status = await pod.container(id)
    strictEqual(status.image?.image, image)
    match(status.imageRef, /\/busybox@sha256:[0-9a-f]{64}$/)
    strictEqual(status.logPath, `${pod.config.logDirectory}/main/0.log`)
  },
  async 'the image ID is one in all answers, also when it was asked for'(runtime) {
    await using pod = await openPod(runtime)
    const reference = await pull(runtime, runtime.image('busybox:1'))
    const request = {
      podSandboxId: pod.id,
      sandboxConfig: pod.config,
      config: ContainerConfig.fromPartial({
        metadata: { name: 'by-id' },
        image: { image: reference, userSpecifiedImage: runtime.image('busybox:1') },
        command: [...sleeps],
      }),
    }
    const { containerId } = await runtime.runtimeService.createContainer(request)
    strictEqual((await pod.container(containerId)).imageId, reference)
    const { image } = await pod.container(containerId)
    strictEqual(image?.image, runtime.image('busybox:1'))
    const filter = ListContainersRequest.fromPartial({ filter: { id: containerId } })
    const [listing] = (await runtime.runtimeService.listContainers(filter)).containers
    strictEqual(listing?.imageId, reference)
  },
  async 'times come in order, and are zero before'(runtime) {
    await using pod = await openPod(runtime)
    const containerId = await pod.create()
    const created = await pod.container(containerId)
    deepStrictEqual([created.state, created.startedAt, created.finishedAt], [CONTAINER_CREATED, 0n, 0n])
    ok(created.createdAt > 0n)
    await runtime.runtimeService.startContainer({ containerId })
    const running = await pod.container(containerId)
    deepStrictEqual([running.state, running.finishedAt, running.reason], [CONTAINER_RUNNING, 0n, ''])
    ok(running.startedAt >= running.createdAt)
    await runtime.runtimeService.stopContainer({ containerId, timeout: 0n })
    const { createdAt, startedAt, finishedAt, state, exitCode } = await pod.container(containerId)
    deepStrictEqual(
      [state, exitCode, createdAt, startedAt],
      [CONTAINER_EXITED, 137, created.createdAt, running.startedAt],
    )
    ok(finishedAt >= startedAt)
  },
  async 'ends with Completed or Error, and its exit code'(runtime) {
    await using pod = await openPod(runtime)
    const ends: [string, number, string][] = [
      ['exit 0', 0, 'Completed'],
      ['exit 7', 7, 'Error'],
      ['kill -9 $$', 137, 'Error'],
    ]
    for (const [script, exitCode, reason] of ends) {
      const status = await pod.script(script)
      deepStrictEqual([status.exitCode, status.reason], [exitCode, reason], script)
    }
  },
  async 'past its memory limit it ends with 137 and OOMKilled'(runtime) {
    await using pod = await openPod(runtime)
    const bytes = 15n << 20n
    const resources = { memoryLimitInBytes: bytes, memorySwapLimitInBytes: bytes }
    const status = await pod.script('dd if=/dev/zero of=/dev/null bs=20M', { linux: { resources } })
    deepStrictEqual([status.exitCode, status.reason], [137, 'OOMKilled'])
  },
  async 'what cannot be started fails, and says why'(runtime) {
    const { runtimeService } = runtime
    await using pod = await openPod(runtime)
    const program = { command: ['/no/such/program'] }
    let containerId: string
    try {
      containerId = await pod.create(program)
    } catch (error) {
      // Some look for the program as soon as they create: then there is no container.
      match(String(error), /no such file/i)
      deepStrictEqual(await listed(runtime, '', pod.id), [])
      return
    }
    await rejects(runtimeService.startContainer({ containerId }))
    const { state, exitCode, reason, message } = await pod.container(containerId)
    deepStrictEqual([state, exitCode, reason], [CONTAINER_EXITED, 128, 'StartError'])
    match(message, /no such file/i)
    await rejects(runtimeService.startContainer({ containerId }))
  },
  async 'stop sends SIGTERM, waits for the grace period, then kills'(runtime) {
    const { runtimeService } = runtime
    await using pod = await openPod(runtime)
    const obeys = await pod.run({ command: ['/bin/sh', '-c', 'trap "exit 3" TERM; echo up; sleep 600 & wait'] })
    const ignores = await pod.run({ command: ['/bin/sh', '-c', 'trap "" TERM; echo up; while :; do sleep 1; done'] })
    for (const id of [obeys, ignores]) await eventually('the trap is set', async () => (await pod.log(id)).length > 0)
    await runtimeService.stopContainer({ containerId: obeys, timeout: 60n })
    strictEqual((await pod.container(obeys)).exitCode, 3)
    const since = performance.now()
    await runtimeService.stopContainer({ containerId: ignores, timeout: 1n })
    ok(performance.now() - since >= 900, 'killed before its time')
    strictEqual((await pod.container(ignores)).exitCode, 137)
  },
  async 'the next attempt may follow while the last one is there'(runtime) {
    await using pod = await openPod(runtime)
    const first = await pod.script('exit 1', { metadata: { name: 'again', attempt: 0 } })
    const second = await pod.script('exit 0', { metadata: { name: 'again', attempt: 1 } })
    deepStrictEqual([first.exitCode, second.exitCode, second.metadata?.attempt], [1, 0, 1])
    await rejects(pod.create({ metadata: { name: 'again', attempt: 1 } }))
  },
  async 'a stop with less time shortens one that waits'(runtime) {
    const { runtimeService } = runtime
    await using pod = await openPod(runtime)
    const containerId = await pod.run({ command: ['sh', '-c', 'trap "" TERM; echo up; while :; do sleep 1; done'] })
    await eventually('the trap is set', async () => (await pod.log(containerId)).length > 0)
    const patient = runtimeService.stopContainer({ containerId, timeout: 60n })
    await runtimeService.stopContainer({ containerId, timeout: 1n })
    await patient
    strictEqual((await pod.container(containerId)).exitCode, 137)
  },
  async 'verbose status has pid, sandbox and runtime spec as JSON'(runtime) {
    await using pod = await openPod(runtime)
    const containerId = await pod.run()
    const { info } = await runtime.runtimeService.containerStatus({ containerId, verbose: true })
    const shown = JSON.parse(info['info'] ?? '{}') as Record<string, unknown>
    strictEqual(shown['sandboxID'], pod.id)
    ok(Number(shown['pid']) > 1)
    deepStrictEqual((shown['runtimeSpec'] as { process?: { args?: string[] } }).process?.args, sleeps)
    deepStrictEqual((await runtime.runtimeService.containerStatus({ containerId, verbose: false })).info, {})
  },
}
