// The outcomes of the validation suite against one runtime, each as soon as it is known.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { validationSuite } from '@nodelet/cri-api/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'

interface Outcome {
  name: string
  outcome: 'passed' | 'skipped' | 'failed'
  reason: string
}

export interface Expected {
  /** Checks that the runtime does not stand, by the reason; one that it does fails, so that the list stays true. */
  lacks?: Readonly<Record<string, string>>
  /** Checks that it stands at times. */
  unsteady?: Readonly<Record<string, string>>
  /** Reasons for which a check may skip itself. */
  skips: readonly RegExp[]
}

/** Declares a test for each check. */
export function validate(
  runtime: 'nodelet' | 'crun' | 'containerd',
  { lacks = {}, unsteady = {}, skips }: Expected,
): void {
  const last = 'nothing is left'
  const names = [...validationSuite.map(({ name }) => name), last]
  const outcomes = new Map(names.map((name) => [name, Promise.withResolvers<Outcome>()]))
  let child: ReturnType<typeof spawn> | undefined
  beforeAll(() => {
    const program = join(import.meta.dirname, 'run.ts')
    const running = spawn(process.execPath, ['--conditions=@nodelet/source', program, runtime], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child = running
    let errors = ''
    running.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    createInterface(running.stdout).on('line', (line) => {
      const outcome = JSON.parse(line) as Outcome
      outcomes.get(outcome.name)?.resolve(outcome)
    })
    running.once('close', () => {
      for (const { promise, reject } of outcomes.values()) {
        reject(new Error(`the run ended without an outcome: ${errors.slice(-2000)}`))
        promise.then(undefined, () => {}) // told by the test that waits for it
      }
    })
  })
  afterAll(async () => {
    // It takes its pods and folders down before it ends.
    if (child?.exitCode === null && child.signalCode === null) await once(child, 'exit')
  })
  test('what is said to be lacking is part of the suite', () => {
    expect(Object.keys({ ...lacks, ...unsteady }).filter((name) => !names.includes(name))).toEqual([])
  })
  for (const name of names) {
    test(name, { timeout: 180_000 }, async (context) => {
      const { outcome, reason } = await outcomes.get(name)!.promise
      const lack = lacks[name]
      if (lack !== undefined) {
        expect(outcome, 'it is there by now').not.toBe('passed')
        context.skip(lack)
      }
      if (unsteady[name] !== undefined) context.skip(unsteady[name])
      if (outcome === 'skipped' && skips.some((one) => one.test(reason))) context.skip(reason)
      expect({ outcome, reason }).toEqual({ outcome: 'passed', reason: '' })
    })
  }
}
