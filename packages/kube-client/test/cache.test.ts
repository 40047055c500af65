import { assert, constantFrom, integer, nat, property, record, uniqueArray } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createCache } from '../src/cache.ts'
import type { KubeObject } from '../src/index.ts'
import { finish } from '../src/slices.ts'

const object = (name: string, resourceVersion: string, uid = name): KubeObject => ({
  metadata: { name, namespace: 'ns', resourceVersion, uid },
})

const logged = () => {
  const log: string[] = []
  const cache = createCache<KubeObject>((error) => log.push(String(error)))
  const name = ({ metadata }: KubeObject): string => `${metadata?.name}@${metadata?.resourceVersion}`
  cache.subscribe({
    added: (now) => log.push(`+${name(now)}`),
    updated: (now, old) => log.push(`~${name(old)}→${name(now)}`),
    deleted: (old) => log.push(`-${name(old)}`),
  })
  return { cache, log }
}

test('a new list is told as differences', () => {
  const { cache, log } = logged()
  finish(cache.replace([object('same', '1'), object('changed', '2'), object('removed', '3'), object('remade', '4')]))
  expect(log.splice(0)).toEqual(['+same@1', '+changed@2', '+removed@3', '+remade@4'])
  finish(
    cache.replace([object('same', '1'), object('changed', '5'), object('remade', '6', 'other'), object('new', '7')]),
  )
  expect(log).toEqual(['-removed@3', '~changed@2→changed@5', '-remade@4', '+remade@6', '+new@7'])
  expect(cache.list()).toHaveLength(4)
})

test('what is known already, or gone already, is not told', () => {
  const { cache, log } = logged()
  cache.put(object('a', '1'))
  cache.put(object('a', '1'))
  cache.remove(object('a', '2'))
  cache.remove(object('a', '2'))
  expect(log).toEqual(['+a@1', '-a@2'])
})

test('who subscribes or leaves while others are told', () => {
  const { cache } = logged()
  const log: string[] = []
  const leave: { second?: () => void } = {}
  let joined = false
  cache.subscribe({
    added: () => {
      leave.second?.()
      if (!joined) cache.subscribe({ added: ({ metadata }) => log.push(`joined ${metadata?.name}`) })
      joined = true
    },
  })
  leave.second = cache.subscribe({ added: () => log.push('second') })
  cache.put(object('a', '1'))
  expect(log).toEqual(['joined a'])
})

describe('while a list is taken in', () => {
  const version = integer({ min: 1, max: 3 }).map(String)
  const uid = constantFrom('x', 'y')
  const content = uniqueArray(record({ name: constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'), version, uid }), {
    selector: ({ name }) => name,
  }).map((all) => all.map(({ name, version: at, uid: of }) => object(name, at, of)))
  const named = (objects: readonly KubeObject[]): Map<string, KubeObject> =>
    new Map(objects.map((one) => [one.metadata?.name ?? '', one]))

  /** Makes of what it is told what the cache has to have. */
  const mirror = (cache: ReturnType<typeof logged>['cache']) => {
    const seen = new Map<string, KubeObject>()
    const faults: string[] = []
    const leave = cache.subscribe({
      added(one) {
        const name = one.metadata?.name ?? ''
        if (seen.has(name)) faults.push(`${name} added twice`)
        seen.set(name, one)
      },
      updated(one, previous) {
        const name = one.metadata?.name ?? ''
        if (seen.get(name) !== previous) faults.push(`${name} updated from what it was not`)
        seen.set(name, one)
      },
      deleted(one) {
        if (!seen.delete(one.metadata?.name ?? '')) faults.push(`${one.metadata?.name} deleted twice`)
      },
    })
    return { seen, faults, leave }
  }

  test('readers find all of the old or all of the new; who comes at any moment is told of all, once', () => {
    assert(
      property(content, content, nat({ max: 40 }), (before, after, joinAt) => {
        const { cache } = logged()
        finish(cache.replace(before))
        const first = mirror(cache)
        const mirrors = [first]
        const [old, next] = [named(cache.list()), named(after)]
        cache.subscribe({ deleted: () => look(), updated: () => look(), added: () => look() })
        const look = (): void => {
          const now = named(cache.list())
          const isWhole = [old, next].some(
            (all) => all.size === now.size && [...all].every(([name, one]) => now.get(name) === one),
          )
          expect(isWhole).toBe(true)
        }
        let step = 0
        const steps = cache.replace(after)
        // Each object of so small a list is a step, from the moment that differences are told.
        for (let done = false; !done; step += 1) {
          if (step === joinAt) mirrors.push(mirror(cache))
          done = steps.next().done ?? false
          look()
        }
        cache.put(object('later', '9'))
        const wanted = named(cache.list())
        for (const { seen, faults } of mirrors) {
          expect(faults).toEqual([])
          expect([...seen.keys()].toSorted()).toEqual([...wanted.keys()].toSorted())
          for (const [name, one] of seen)
            expect(one.metadata?.resourceVersion).toBe(wanted.get(name)?.metadata?.resourceVersion)
        }
      }),
      { numRuns: 200 },
    )
  })
})
