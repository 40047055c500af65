import { runtimeServiceSuite } from '@nodelet/cri-api/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { leftovers, makeRuntime } from './runtime-fixture.ts'

let f: Awaited<ReturnType<typeof makeRuntime>>
beforeAll(async () => {
  f = await makeRuntime()
})
afterAll(async () => f[Symbol.asyncDispose]())

describe('as any runtime', () => {
  const command = ['/bin/sleep', '600']
  for (const { name, run } of runtimeServiceSuite(() => ({ ...f.runtime, image: f.image, command }))) test(name, run)
  test('and nothing is left of it', () => {
    expect(leftovers(f)).toEqual([])
    expect(f.problems).toEqual([])
  })
})
