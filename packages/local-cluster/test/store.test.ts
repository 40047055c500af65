import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ApiObject } from '../src/object.ts'
import { openStore } from '../src/store.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nodelet-store-'))
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

const map = (name: string, data: Record<string, string> = {}): ApiObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'default' },
  data,
})

test('objects and the revision survive a reopen; changes before it are no longer known', () => {
  const path = join(folder, 'cluster.db')
  let revision: number
  {
    using store = openStore(path)
    const start = store.revision()
    store.put('configmaps', map('a', { k: '1' }))
    store.remove('configmaps', store.put('configmaps', map('b')))
    revision = store.revision()
    expect(revision).toBe(start + 3)
    expect(store.since('configmaps', start)?.map(({ type }) => type)).toEqual(['ADDED', 'ADDED', 'DELETED'])
  }
  using store = openStore(path)
  expect(store.revision()).toBe(revision)
  expect(store.list('configmaps', 'default').map(({ metadata, data }) => [metadata.name, data])).toEqual([
    ['a', { k: '1' }],
  ])
  expect(store.since('configmaps', revision - 1)).toBeUndefined()
  expect(store.since('configmaps', revision)).toEqual([])
})

test('who follows one object is told of it alone, until it is left', () => {
  using store = openStore(join(folder, 'cluster.db'))
  const told: string[] = []
  const follow = (who: string, name: string): (() => void) =>
    store.subscribe('configmaps', ({ type, object }) => told.push(`${who} ${type} ${object.metadata.name}`), {
      namespace: 'default',
      name,
    })
  const leave = [follow('one', 'a'), follow('two', 'a'), follow('three', 'b')]
  store.put('configmaps', map('a'))
  store.put('configmaps', map('c'))
  store.put('secrets', map('a'))
  leave[0]?.()
  store.remove('configmaps', store.put('configmaps', map('b')))
  store.put('configmaps', map('a', { k: '1' }))
  leave[1]?.()
  follow('four', 'a')
  leave[1]?.()
  store.put('configmaps', map('a', { k: '2' }))
  expect(told).toEqual([
    'one ADDED a',
    'two ADDED a',
    'three ADDED b',
    'three DELETED b',
    'two MODIFIED a',
    'four MODIFIED a',
  ])
})

test('kill -9 while writing leaves a whole database with all that was told as written', async () => {
  const path = join(folder, 'cluster.db')
  const writer = fork(new URL('store-writer.ts', import.meta.url), [path], {
    execArgv: ['--conditions=@nodelet/source'],
  })
  let told = 0
  const enough = 200
  const { promise, resolve } = Promise.withResolvers<void>()
  writer.on('message', (count: number) => {
    told = Math.max(told, count)
    if (told >= enough) resolve()
  })
  const exited = once(writer, 'exit')
  await Promise.race([promise, exited])
  writer.kill('SIGKILL')
  expect(await exited).toEqual([null, 'SIGKILL'])
  using store = openStore(path)
  const objects = store.list('configmaps', 'default')
  expect(objects.length).toBeGreaterThanOrEqual(told)
  // Each write made one object and one revision: neither without the other.
  const versions = objects.map(({ metadata }) => Number(metadata.resourceVersion))
  expect(Math.max(...versions)).toBe(store.revision())
  expect(new Set(versions).size).toBe(objects.length)
})
