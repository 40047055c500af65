// A daemon with a second OCI runtime that has faults, and a pod of the first that must not notice.
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import { makeFaultyRuntime } from './faulty-runtime.ts'
import type { Call, Fault, FaultyRuntime } from './faulty-runtime.ts'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'

export interface FaultyBench {
  daemon: Daemon
  faulty: FaultyRuntime
  /** The machine before the test. */
  before: string[]
  /** A pod of the faulty runtime. */
  runPod(): Promise<string>
  /** What an error says of a call: the program, the call, the container and the reason. */
  said(call: Call, fault: Fault, id?: string): RegExp
}

const reasons: Record<Fault, string> = {
  hang: 'did not end within [\\d.]+ s and was killed',
  die: 'killed by signal 9|conmon ended without an answer|exited|status',
  refuse: 'the test refuses',
  babble: 'makes no sense|did the OCI runtime make nothing',
}

/** Set up and taken down with the tests of a file; after each the machine must be as before. */
export function useFaultyRuntime(options: { callLimitMs?: number } = {}): FaultyBench {
  const bench = {
    before: [] as string[],
    runPod: async () => {
      const request = { config: bench.daemon.podConfig(), runtimeHandler: 'faulty' }
      return (await bench.daemon.runtime.runPodSandbox(request)).podSandboxId
    },
    said: (call: Call, fault: Fault, id = '') =>
      new RegExp(`(?=[^]*${bench.faulty.path})(?=[^]*${id})(?=[^]*(${call}|creating))[^]*(${reasons[fault]})`),
  } as FaultyBench
  let bystander: { pod: string; container: string }
  beforeAll(async () => {
    bench.faulty = makeFaultyRuntime()
    bench.daemon = await makeDaemon({ handlers: { runc: {}, faulty: { path: bench.faulty.path, ...options } } })
    const pod = await bench.daemon.runPod()
    bystander = { pod, container: await bench.daemon.run(pod, 'sleep 600') }
  })
  afterAll(async () => {
    bench.faulty.set()
    await bench.daemon[Symbol.asyncDispose]()
    bench.faulty[Symbol.dispose]()
  })
  beforeEach(async () => {
    bench.before = await bench.daemon.state()
  })
  afterEach(async () => {
    const { daemon, faulty, before } = bench
    faulty.set()
    expect(await daemon.exec(bystander.container, 'echo here')).toBe('here')
    const { items } = await daemon.runtime.listPodSandbox({ filter: undefined })
    for (const { id } of items) if (id !== bystander.pod) await daemon.runtime.removePodSandbox({ podSandboxId: id })
    await daemon.expectState(before)
    daemon.problems.splice(0)
  })
  return bench
}
