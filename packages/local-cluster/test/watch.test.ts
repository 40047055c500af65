import { once } from 'node:events'
import { connect } from 'node:http2'
import type { ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startApi } from './api.ts'
import type { TestApi } from './api.ts'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
  for (const name of ['a', 'b']) await create('configmaps', name)
})
afterAll(async () => api[Symbol.asyncDispose]())

const root = '/api/v1/namespaces/default'
const headers = { 'content-type': 'application/json' }

async function create(resource: string, name: string, more: object = {}, at = root): Promise<Seen> {
  const { text, status } = await api.call({
    method: 'POST',
    path: `${at}/${resource}`,
    headers,
    body: JSON.stringify({ metadata: { name }, ...more }),
  })
  expect(status, text).toBe(201)
  return JSON.parse(text) as Seen
}

interface Seen {
  metadata: { name?: string; namespace?: string; resourceVersion: string; annotations?: Record<string, string> }
}
interface Line {
  type: string
  object: Seen
}

async function watch(query: string, opened?: () => Promise<void>): Promise<string[]> {
  const path = `${root}/configmaps?watch=1&timeoutSeconds=1&${query}`
  const { text } = await api.call({ method: 'GET', path, ...(opened && { opened }) })
  const lines = text.split('\n').filter((line) => line !== '')
  return lines
    .map((line) => JSON.parse(line) as Line)
    .map(
      ({ type, object: { metadata } }) =>
        `${type} ${metadata.name ?? Object.keys(metadata.annotations ?? {}).join(',')}`,
    )
}

const all = ['ADDED a', 'ADDED b', 'ADDED kube-root-ca.crt']
const begun = 'BOOKMARK k8s.io/initial-events-end'

test('initial events are the whole list, whatever version the client knows', async () => {
  const { resourceVersion } = (await create('secrets', 'later')).metadata
  const streaming = 'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true'
  expect(await watch(streaming)).toEqual([...all, begun])
  expect(await watch(`${streaming}&resourceVersion=${resourceVersion}`)).toEqual([...all, begun])
})

test('without a version the list comes first; only when it is not wanted, not', async () => {
  expect(await watch('')).toEqual(all)
  const made = async (): Promise<void> => void (await create('configmaps', 'c'))
  expect(await watch('sendInitialEvents=false&resourceVersionMatch=NotOlderThan', made)).toEqual(['ADDED c'])
})

test('a time-out longer than a timer lasts until the client leaves', async () => {
  let isOver = false
  const left = new AbortController()
  const path = `${root}/configmaps?watch=1&timeoutSeconds=999999999`
  const watching = api.call({ method: 'GET', path, signal: left.signal }).finally(() => (isOver = true))
  await create('configmaps', 'd')
  expect(isOver).toBe(false)
  left.abort()
  await expect(watching).rejects.toThrow(/abort/)
})

test('one object of a namespace, and those of its name in all', async () => {
  const named = 'fieldSelector=metadata.name%3Da'
  const namesOf = async (path: string): Promise<(string | undefined)[]> =>
    (JSON.parse((await api.call({ method: 'GET', path })).text) as { items: Seen[] }).items.map(
      ({ metadata }) => `${metadata.namespace}/${metadata.name}`,
    )
  await create('configmaps', 'a', {}, '/api/v1/namespaces/kube-system')
  expect(await namesOf(`${root}/configmaps?${named}`)).toEqual(['default/a'])
  expect(await namesOf(`${root}/configmaps?${named},metadata.name!%3Da`)).toEqual([])
  expect(await namesOf(`${root}/configmaps?fieldSelector=metadata.name%3Dnone`)).toEqual([])
  expect(await namesOf(`/api/v1/configmaps?${named}`)).toEqual(['default/a', 'kube-system/a'])
  const change = async (): Promise<void> => {
    for (const name of ['a', 'b'])
      await api.call({
        method: 'PATCH',
        path: `${root}/configmaps/${name}`,
        headers: { 'content-type': 'application/merge-patch+json' },
        body: JSON.stringify({ data: { changed: 'yes' } }),
      })
  }
  expect(await watch(`sendInitialEvents=false&${named}`, change)).toEqual(['MODIFIED a'])
})

test('a client that does not read is cut off, and the server serves the others', async () => {
  const path = `${root}/configmaps?watch=1&sendInitialEvents=false`
  const asked = Promise.withResolvers<void>()
  const idle = Promise.withResolvers<void>()
  // Reads nothing after the head until the server has done its part.
  const slow = api.call({ method: 'GET', path, opened: async () => asked.resolve(), unread: idle.promise })
  await create('configmaps', 'big', { data: { text: 'x'.repeat(900_000) } })
  await asked.promise
  for (let count = 0; count < 45; count += 1) {
    const body = JSON.stringify({ data: { count: String(count) } })
    const type = { 'content-type': 'application/merge-patch+json' }
    expect((await api.call({ method: 'PATCH', path: `${root}/configmaps/big`, headers: type, body })).status).toBe(200)
  }
  idle.resolve()
  await expect(slow).rejects.toThrow(/aborted|hang up|closed|reset/)
})

test('with HTTP/2 it is the watch that is cut off; the connection serves on', async () => {
  const session = connect(`https://127.0.0.1:${api.port}`, api.admin)
  try {
    const open = (query: string): ClientHttp2Stream => session.request({ ':path': `${root}/configmaps${query}` })
    const slow = open('?watch=1&sendInitialEvents=false')
    await once(slow, 'response')
    await create('configmaps', 'large', { data: { text: 'x'.repeat(900_000) } })
    for (let count = 0; count < 22; count += 1) {
      const body = JSON.stringify({ data: { count: String(count) } })
      const type = { 'content-type': 'application/merge-patch+json' }
      await api.call({ method: 'PATCH', path: `${root}/configmaps/large`, headers: type, body })
    }
    await expect(slow.toArray()).rejects.toThrow(/close/)
    const [headers] = (await once(open('?limit=1').resume(), 'response')) as [IncomingHttpHeaders]
    expect(headers[':status']).toBe(200)
  } finally {
    session.destroy()
  }
})
