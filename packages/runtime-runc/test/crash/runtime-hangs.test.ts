// An OCI runtime that hangs at each of its calls, and clients that do not wait for it.
import { join } from 'node:path'
import { createCriClient } from '@nodelet/cri-api'
import { expect, test } from 'vitest'
import { testCallFaults } from './call-faults.ts'
import { killMonitor } from './machine.ts'
import { useFaultyRuntime } from './runtime-fixture.ts'

/** More than a call takes on a busy machine. */
const bench = useFaultyRuntime({ callLimitMs: 1500 })

testCallFaults(bench, ['hang'])

test('exec hangs and has no limit: it ends when its client goes', async () => {
  const pod = await bench.runPod()
  const id = await bench.daemon.run(pod, 'sleep 600')
  const made = await bench.daemon.state()
  bench.faulty.set('exec', 'hang')
  const gone = new AbortController()
  const exec = bench.daemon.runtime.execSync({ containerId: id, cmd: ['true'], timeout: 0n }, { signal: gone.signal })
  const ended = expect(exec).rejects.toThrow()
  await expect.poll(async () => (await bench.daemon.state()).some((line) => line.includes('exec-'))).toBe(true)
  gone.abort()
  await ended
  await bench.daemon.expectState(made)
})

test('a client whose deadline passes is told so; what it began is taken back or finished', async () => {
  const pod = await bench.runPod()
  const made = await bench.daemon.state()
  bench.faulty.set('create', 'hang')
  const config = bench.daemon.container('sleep 600')
  const request = { podSandboxId: pod, config, sandboxConfig: undefined }
  await using hasty = createCriClient(`unix://${join(bench.daemon.folder, 'cri.sock')}`, { timeout: 500 })
  await expect(hasty.runtimeService.createContainer(request)).rejects.toHaveProperty('code', 'DEADLINE_EXCEEDED')
  // The second call shares what the first one began, and its end.
  await expect(bench.daemon.runtime.createContainer(request)).rejects.toThrow(bench.said('create', 'hang'))
  await bench.daemon.expectState(made)
})

test('a pod in which a container is being made for ever is removed at once; others do not wait', async () => {
  const pod = await bench.runPod()
  bench.faulty.set('create', 'hang')
  const order: string[] = []
  const creation = bench.daemon
    .create(pod, 'sleep 600')
    .then(
      () => 'made',
      (error: Error) => error.message,
    )
    .finally(() => order.push('creation'))
  await expect.poll(async () => (await bench.daemon.state()).some((line) => line.includes(' create '))).toBe(true)
  const other = await bench.daemon.runPod()
  expect(await bench.daemon.exec(await bench.daemon.run(other, 'sleep 600'), 'echo quick')).toBe('quick')
  await bench.daemon.runtime.removePodSandbox({ podSandboxId: other })
  order.push('others')
  await bench.daemon.runtime.removePodSandbox({ podSandboxId: pod })
  expect(await creation).toMatch(/sandbox [0-9a-f]{64} is being stopped/)
  expect(order).toEqual(['others', 'creation'])
  await bench.daemon.expectState(bench.before)
})

test('the monitor is killed before it answers: the creation says so, and nothing is left', async () => {
  const pod = await bench.runPod()
  await bench.daemon.runtime.removeContainer({ containerId: await bench.daemon.create(pod, 'true') })
  const made = await bench.daemon.state()
  bench.faulty.set('create', 'hang')
  const creation = expect(bench.daemon.create(pod, 'sleep 600')).rejects.toThrow(
    /creating container .* conmon ended without an answer; was it killed/,
  )
  await killMonitor(bench.daemon.folder, bench.faulty.path)
  await creation
  await bench.daemon.expectState(made)
})
