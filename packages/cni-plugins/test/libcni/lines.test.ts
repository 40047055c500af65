import { expect, test } from 'vitest'
import { createGate } from '../../src/libcni/lines.ts'

test('who is alone waits for all before and keeps all after waiting, also when work fails', async () => {
  const gate = createGate()
  const events: string[] = []
  const work = (name: string, until: Promise<void>) => async () => {
    events.push(`${name} begins`)
    await until
    events.push(`${name} ends`)
  }
  const [one, two, three] = [1, 2, 3].map(() => Promise.withResolvers<void>())
  if (!one || !two || !three) throw new Error('unreachable')
  const running = [
    gate.beside(work('a', one.promise)),
    gate.beside(work('b', two.promise)),
    gate.alone(work('gc', three.promise)),
    gate.beside(work('c', Promise.resolve())),
    gate.alone(async () => Promise.reject(new Error('no'))),
    gate.beside(work('d', Promise.resolve())),
  ]
  const settled = Promise.allSettled(running)
  await new Promise(setImmediate)
  expect(events).toEqual(['a begins', 'b begins'])
  one.resolve()
  await new Promise(setImmediate)
  expect(events.at(-1)).toBe('a ends')
  two.resolve()
  await new Promise(setImmediate)
  expect(events.slice(3)).toEqual(['b ends', 'gc begins'])
  three.resolve()
  expect((await settled).map(({ status }) => status === 'fulfilled')).toEqual([true, true, true, true, false, true])
  expect(events.slice(5)).toEqual(['gc ends', 'c begins', 'c ends', 'd begins', 'd ends'])
})
