import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type BackOff,
  crashLoopMessage,
  decideRestart,
  mayRestart,
  type RestartableContainer,
} from '../src/pod/restart.ts'

const plain: RestartableContainer = { name: 'c' }
const ruled: RestartableContainer = {
  name: 'c',
  restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }],
}

test.each([
  [plain, 'Always', 0, true],
  [plain, 'OnFailure', 0, false],
  [plain, 'OnFailure', 1, true],
  [plain, 'Never', 1, false],
  [{ ...plain, restartPolicy: 'Always' }, 'Never', 0, true],
  [ruled, 'Never', 42, true],
  [ruled, 'Never', 41, false],
] as const)('%j under %s after exit %i: %s', (container, policy, exit, expected) => {
  expect(mayRestart(container, policy, exit)).toBe(expected)
})

test('a container that dies at once waits 0, 10, 20 … 300, 300 seconds', () => {
  let entry: BackOff | undefined
  let now = 0
  const waits: number[] = []
  for (let exit = 0; exit < 8; exit++) {
    const finished = now
    let decision = decideRestart(entry, finished, now)
    if (decision.kind === 'wait') now = decision.untilMs
    decision = decideRestart(entry, finished, now)
    if (decision.kind !== 'start') throw new Error('still waiting at the time that was named')
    entry = decision.backOff
    waits.push((now - finished) / 1000)
  }
  expect(waits).toEqual([0, 10, 20, 40, 80, 160, 300, 300])
})

test('ten minutes of running start the sequence anew', () => {
  const entry = { delayMs: 160_000, updatedMs: 0 }
  expect(decideRestart(entry, 600_001, 600_001)).toEqual({
    kind: 'start',
    backOff: { delayMs: 10_000, updatedMs: 600_001 },
  })
  expect(decideRestart(entry, 600_000, 600_000).kind).toBe('wait')
})

test('no wait is longer than the limit', () => {
  fc.assert(
    fc.property(fc.nat(600_000), fc.integer({ min: 1000, max: 300_000 }), (delayMs, maxMs) => {
      const decision = decideRestart({ delayMs: Math.min(delayMs, maxMs), updatedMs: 0 }, 1, 1, { maxMs })
      if (decision.kind === 'wait') expect(decision.untilMs).toBeLessThanOrEqual(1 + maxMs)
      else expect(decision.backOff.delayMs).toBeLessThanOrEqual(maxMs)
    }),
  )
})

test('the waiting message is worded as operators know it', () => {
  const pod = { name: 'web', namespace: 'default', uid: 'u1' }
  expect(crashLoopMessage('c', pod, 20_000)).toBe('back-off 20s restarting failed container=c pod=web_default(u1)')
  expect(crashLoopMessage('c', pod, 300_000)).toContain('back-off 5m0s restarting')
})
