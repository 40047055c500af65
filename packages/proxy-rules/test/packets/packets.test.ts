// Each row of the table in each mode: real packets, and the tracer's word for them.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { check } from './check.ts'
import { modes, type Mode } from './mode.ts'
import { rows } from './rows.ts'
import { holdsIn, runRows } from './run.ts'
import type { Results } from './tried.ts'
import { openWorld, type World } from './world.ts'

/** The first test of a mode waits for all its packets: some seconds, on a busy machine minutes. */
const timeout = 300_000
const worlds: World[] = []
const runs = new Map<Mode, Promise<Results>>()

async function run(mode: Mode): Promise<Results> {
  const world = await openWorld()
  worlds.push(world)
  return runRows(world, mode, rows)
}

beforeAll(() => {
  // Each mode has a world of its own: what one of them waits for keeps no other.
  for (const mode of modes) {
    const results = run(mode)
    results.catch(() => {})
    runs.set(mode, results)
  }
})
afterAll(async () => {
  await Promise.allSettled(runs.values())
  await Promise.all(worlds.map((world) => world[Symbol.asyncDispose]()))
}, timeout)

describe.each(modes)('$name', (mode) => {
  const held = rows.filter((row) => holdsIn(row, mode.name)).map((row) => [row.name, row] as const)
  test.each(held)('%s', { timeout }, async (_, row) => {
    const result = (await runs.get(mode))?.get(row)
    if (result instanceof Error) throw result
    expect(result?.length ?? 0).toBeGreaterThan(0)
    check(result ?? [])
  })
})
