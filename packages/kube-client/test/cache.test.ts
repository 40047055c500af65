import { expect, test } from 'vitest'
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
  finish(cache.replace([object('same', '1'), object('changed', '5'), object('remade', '6', 'other'), object('new', '7')]))
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
