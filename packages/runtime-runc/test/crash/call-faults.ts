// The outcome of each call of the OCI runtime that goes wrong, as tests.
import { ContainerState, LinuxContainerResources, NamespaceMode } from '@nodelet/cri-api'
import { expect, test } from 'vitest'
import type { Fault } from './faulty-runtime.ts'
import type { FaultyBench } from './runtime-fixture.ts'

const { CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_EXITED } = ContainerState

export function testCallFaults(bench: FaultyBench, faults: Fault[]): void {
  const only = (possible: Fault[]): Fault[] => possible.filter((fault) => faults.includes(fault))

  test.each(only(['hang', 'die', 'refuse', 'babble']))(
    'create: %s; nothing is left, and the name is free',
    async (fault) => {
      const pod = await bench.runPod()
      const made = await bench.daemon.state()
      bench.faulty.set('create', fault)
      const request = { podSandboxId: pod, config: bench.daemon.container('sleep 600'), sandboxConfig: undefined }
      await expect(bench.daemon.runtime.createContainer(request)).rejects.toThrow(bench.said('create', fault))
      await bench.daemon.expectState(made)
      bench.faulty.set()
      await bench.daemon.runtime.createContainer(request)
    },
  )

  test.each(only(['hang', 'die', 'refuse']))('start: %s; the container has ended as StartError', async (fault) => {
    const pod = await bench.runPod()
    const id = await bench.daemon.create(pod, 'sleep 600')
    bench.faulty.set('start', fault)
    await expect(bench.daemon.runtime.startContainer({ containerId: id })).rejects.toThrow(
      bench.said('start', fault, id),
    )
    expect(await bench.daemon.status(id)).toMatchObject({
      state: CONTAINER_EXITED,
      exitCode: 128,
      reason: 'StartError',
      startedAt: 0n,
      message: expect.stringMatching(bench.said('start', fault, id)),
    })
  })

  test.each(only(['hang', 'die', 'refuse']))('exec: %s; it ends, and the container goes on', async (fault) => {
    const pod = await bench.runPod()
    const id = await bench.daemon.run(pod, 'sleep 600')
    const made = await bench.daemon.state()
    bench.faulty.set('exec', fault)
    const exec = bench.daemon.runtime.execSync({ containerId: id, cmd: ['true'], timeout: 1n })
    await expect(exec).rejects.toThrow(fault === 'hang' ? /"true" timed out/ : new RegExp(id))
    await bench.daemon.expectState(made)
    bench.faulty.set()
    expect(await bench.daemon.exec(id, 'echo well')).toBe('well')
  })

  test.each(only(['hang', 'die', 'refuse']))('kill: %s; the container still ends', async (fault) => {
    const linux = { securityContext: { namespaceOptions: { pid: NamespaceMode.NODE } } } // the node's: all are to be killed
    const pod = await bench.runPod()
    const id = await bench.daemon.run(pod, 'sleep 600 & sleep 601', { linux })
    bench.faulty.set('kill', fault)
    await bench.daemon.runtime.stopContainer({ containerId: id, timeout: 0n })
    expect(await bench.daemon.status(id)).toMatchObject({ state: CONTAINER_EXITED, exitCode: 137 })
  })

  test.each(only(['hang', 'die', 'refuse']))('delete: %s; all goes all the same, and it is told of', async (fault) => {
    const pod = await bench.runPod()
    await bench.daemon.runtime.removeContainer({ containerId: await bench.daemon.create(pod, 'true') }) // makes the pod's cgroups
    const made = await bench.daemon.state()
    const [id, other, third] = [
      await bench.daemon.run(pod, 'sleep 600'),
      await bench.daemon.run(pod, 'sleep 600'),
      await bench.daemon.create(pod, 'sleep 600'),
    ]
    bench.faulty.set('delete', fault)
    await bench.daemon.runtime.stopContainer({ containerId: id, timeout: 0n })
    expect(await bench.daemon.status(id)).toMatchObject({ state: CONTAINER_EXITED, exitCode: 137, reason: 'Error' })
    await expect
      .poll(() => bench.daemon.problems)
      .toContainEqual(expect.stringMatching(bench.said('delete', fault, id)))
    await Promise.all([id, other, third].map((one) => bench.daemon.runtime.removeContainer({ containerId: one })))
    await bench.daemon.expectState(made)
    await bench.daemon.runtime.removePodSandbox({ podSandboxId: pod })
    await bench.daemon.expectState(bench.before)
  })

  test.each(only(['hang', 'die', 'refuse']))('update: %s; the limits stay as they were', async (fault) => {
    const pod = await bench.runPod()
    const id = await bench.daemon.run(pod, 'sleep 600', { linux: { resources: { memoryLimitInBytes: 64n << 20n } } })
    bench.faulty.set('update', fault)
    const linux = LinuxContainerResources.fromPartial({ memoryLimitInBytes: 128n << 20n })
    const request = { containerId: id, linux, windows: undefined, annotations: {} }
    await expect(bench.daemon.runtime.updateContainerResources(request)).rejects.toThrow(
      bench.said('update', fault, id),
    )
    expect(await bench.daemon.status(id)).toMatchObject({
      state: CONTAINER_RUNNING,
      resources: { linux: { memoryLimitInBytes: 64n << 20n } },
    })
  })

  test.each(only(['hang', 'die', 'refuse', 'babble']))(
    'list at the start: %s; it is told of, and all is kept',
    async (fault) => {
      const pod = await bench.runPod()
      const [running, created] = [await bench.daemon.run(pod, 'sleep 600'), await bench.daemon.create(pod, 'sleep 600')]
      await bench.daemon.kill()
      bench.faulty.set('list', fault)
      await bench.daemon.start()
      await expect
        .poll(() => bench.daemon.problems)
        .toContainEqual(expect.stringMatching(bench.said('list', fault, 'handler faulty')))
      expect((await bench.daemon.status(running))?.state).toBe(CONTAINER_RUNNING)
      expect((await bench.daemon.status(created))?.state).toBe(CONTAINER_CREATED)
      await bench.daemon.runtime.startContainer({ containerId: created })
    },
  )
}
