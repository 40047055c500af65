// What tests of one daemon share.
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import { makeDaemon } from './fixture.ts'
import type { Daemon } from './fixture.ts'

/**
 * A daemon for the tests of a file and a pod for each. After each the pod is removed, the machine is as it was before it,
 * and the daemon has complained of nothing.
 */
export function useDaemon(): { daemon: Daemon; pod: string } {
  const shared = {} as { daemon: Daemon; pod: string }
  let before: string[]
  beforeAll(async () => {
    const daemon = await makeDaemon()
    shared.daemon = daemon
    // What is made once for all stays out of the comparison.
    const first = await daemon.runPod()
    await daemon.run(first, 'true')
    await daemon.runtime.removePodSandbox({ podSandboxId: first })
  })
  afterAll(async () => shared.daemon[Symbol.asyncDispose]())
  beforeEach(async () => {
    before = await shared.daemon.state()
    shared.pod = await shared.daemon.runPod()
  })
  afterEach(async () => {
    const { daemon, pod } = shared
    await daemon.runtime.removePodSandbox({ podSandboxId: pod })
    await daemon.expectState(before)
    expect(daemon.problems.splice(0)).toEqual([])
  })
  return shared
}
