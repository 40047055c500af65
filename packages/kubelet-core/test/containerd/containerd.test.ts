// The kubelet with a runtime of others: Debian's containerd, where it is installed.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, it } from 'vitest'
import { hasContainerd } from '../../../../bench/runtime/peers.ts'

interface Outcome {
  name: string
  outcome: string
  reason: string
}

describe.skipIf(!hasContainerd())('containerd', () => {
  it('pods live over its socket as over ours', { timeout: 180_000 }, async () => {
    const script = join(import.meta.dirname, 'run.ts')
    const child = spawn(process.execPath, ['--conditions=@nodelet/source', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const outcomes: Outcome[] = []
    for await (const line of createInterface(child.stdout)) {
      if (line.startsWith('{')) outcomes.push(JSON.parse(line) as Outcome)
    }
    expect(outcomes.filter(({ outcome }) => outcome !== 'passed')).toEqual([])
    expect(outcomes.length).toBe(6)
  })
})
