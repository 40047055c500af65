import { expect, test } from 'vitest'
import { finish, inSlices, isTimeLeft, turn } from '../src/slices.ts'
import type { Steps } from '../src/slices.ts'

/** Each step lasts longer than a slice. */
const slow = function* (name: string, count: number, log: string[]): Steps<string> {
  for (let step = 0; step < count; step += 1) {
    const end = performance.now() + 5
    while (performance.now() < end);
    log.push(name)
    yield
  }
  return name
}

/** Writes a mark at each turn of the event loop until it is told to stop. */
const markTurns = (log: string[]): { stop(): void } => {
  let isOver = false
  const mark = (): void => {
    if (isOver) return
    log.push('|')
    setImmediate(mark)
  }
  setImmediate(mark)
  return { stop: () => void (isOver = true) }
}

test('works that go on at the same time have one slice in each turn together, one after the other', async () => {
  const log: string[] = []
  await turn()
  const marks = markTurns(log)
  const all = await Promise.all(['a', 'b', 'c'].map(async (name) => inSlices(slow(name, 3, log))))
  marks.stop()
  expect(all).toEqual(['a', 'b', 'c'])
  const turns = log.join('').split('|')
  expect(Math.max(...turns.map(({ length }) => length))).toBe(1)
  // The first had its first one before anybody waited.
  expect(turns.join('')).toBe('aabcabcbc')
})

test('who waits for a turn and is aborted leaves it to the next', async () => {
  const log: string[] = []
  const leaving = new AbortController()
  const works = [inSlices(slow('a', 2, log)), inSlices(slow('b', 2, log), leaving.signal), inSlices(slow('c', 2, log))]
  leaving.abort(new Error('left'))
  const [first, second, third] = await Promise.allSettled(works)
  expect([first, third]).toMatchObject([{ value: 'a' }, { value: 'c' }])
  expect(second).toMatchObject({ reason: { message: 'left' } })
  expect(log.join('')).not.toContain('b')
})

test('a slice that is over is over for everybody, until the next turn', async () => {
  const log: string[] = []
  await turn()
  expect(isTimeLeft()).toBe(true)
  finish(slow('a', 1, log))
  expect(isTimeLeft()).toBe(false)
  await Promise.resolve()
  expect(isTimeLeft()).toBe(false)
  await turn()
  expect(isTimeLeft()).toBe(true)
})
