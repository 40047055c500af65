import { rmSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { ConfigMap } from 'kubernetes-types/core/v1.d.ts'
import { configMaps, createKubeClient, delayAfter, isGone, startInformer } from '../src/index.ts'
import type { InformerOptions, InformerTransform, KubeClient, WatchEvent } from '../src/index.ts'
import { linesOf } from '../src/watch.ts'
import { startApiServer } from './api-server.ts'
import type { ApiServer } from './api-server.ts'
import { makeCertificates } from './certificates.ts'
import type { Certificates } from './certificates.ts'
import { eventually } from './eventually.ts'

let certificates: Certificates
let server: ApiServer
let client: KubeClient
const backoff = { initialMs: 5, maxMs: 20 }
const namespace = 'ns'

beforeAll(() => {
  certificates = makeCertificates()
})
beforeEach(async () => {
  server = await startApiServer(certificates)
  client = createKubeClient({
    server: server.url,
    ca: { pem: certificates.pem('ca.crt') },
    clientCertificate: { pem: certificates.pem('client.crt') },
    clientKey: { pem: certificates.pem('client.key') },
  })
  return async () => {
    await client.close()
    await server.close()
  }
})
afterAll(() => rmSync(certificates.folder, { recursive: true }))

const create = async (name: string, on = '1'): Promise<unknown> =>
  client.create(configMaps, { metadata: { name, namespace, labels: { on } }, data: { on } })
const told = ({ type, object }: WatchEvent<object>): string =>
  `${type} ${(object as { metadata?: { name?: string } }).metadata?.name ?? ''}`.trim()

/** Watches in the background and gathers what is told. */
const gather = (options: Parameters<KubeClient['watch']>[1]) => {
  const seen: string[] = []
  const retries: unknown[] = []
  const onRetry = (error: unknown): void => void retries.push(error)
  const run = async (): Promise<unknown> => {
    try {
      for await (const event of client.watch(configMaps, { namespace, backoff, onRetry, ...options }))
        seen.push(told(event))
      return undefined
    } catch (error) {
      return error
    }
  }
  return { seen, retries, ended: run() }
}
const opened = (): string[] => server.seen.filter(({ url }) => url.includes('watch=true')).map(({ url }) => url)
const versionsAsked = (): (string | null)[] =>
  opened().map((url) => new URL(url, server.url).searchParams.get('resourceVersion'))

describe('watch', () => {
  test('tells changes, with a selector, until it is aborted', async () => {
    const stop = new AbortController()
    const reason = new Error('enough')
    const { seen, ended } = gather({ resourceVersion: '100', labelSelector: 'on=1', signal: stop.signal })
    await eventually('watching', () => server.watchers() === 1)
    await create('a')
    await create('other', '0')
    await client.delete(configMaps, { name: 'a', namespace })
    await eventually('told', () => seen.length === 2)
    stop.abort(reason)
    expect(await ended).toBe(reason)
    expect(seen).toEqual(['ADDED a', 'DELETED a'])
    await eventually('the connection ended', () => server.watchers() === 0)
    expect(opened()[0]).toMatch(/allowWatchBookmarks=true&timeoutSeconds=\d+&labelSelector=on%3D1&resourceVersion=100/)
  })

  test('leaving the loop ends the connection', async () => {
    await create('a')
    for await (const event of client.watch(configMaps, { namespace })) {
      expect(told(event)).toBe('ADDED a')
      break
    }
    await eventually('the connection ended', () => server.watchers() === 0)
  })

  test.each(['cutWatches', 'endWatches'] as const)('goes on where it was after %s', async (how) => {
    const stop = new AbortController()
    const { seen, ended } = gather({ resourceVersion: '100', signal: stop.signal })
    await eventually('watching', () => server.watchers() === 1)
    await create('a')
    await eventually('told', () => seen.length === 1)
    server[how]()
    await create('b')
    await eventually('told on', () => seen.length === 2)
    expect(seen).toEqual(['ADDED a', 'ADDED b'])
    expect(versionsAsked().slice(0, 2)).toEqual(['100', '101'])
    stop.abort()
    await ended
  })

  test('an event that was cut in two is asked for again', async () => {
    const stop = new AbortController()
    const { seen, ended } = gather({ resourceVersion: '100', signal: stop.signal })
    await eventually('watching', () => server.watchers() === 1)
    server.writeToWatches('{"type":"ADDED","object":{"metadata":{"na')
    server.endWatches()
    await eventually('again', () => opened().length === 2)
    await create('a')
    await eventually('told', () => seen.length === 1)
    expect(seen).toEqual(['ADDED a'])
    stop.abort()
    await ended
  })

  test('a bookmark moves the version on', async () => {
    const stop = new AbortController()
    const { seen, ended } = gather({ resourceVersion: '100', labelSelector: 'on=1', signal: stop.signal })
    await eventually('watching', () => server.watchers() === 1)
    await create('other', '0')
    server.bookmark()
    await eventually('told', () => seen.length === 1)
    expect(seen).toEqual(['BOOKMARK'])
    server.endWatches()
    await eventually('again', () => opened().length === 2)
    expect(versionsAsked()).toEqual(['100', '101'])
    stop.abort()
    await ended
  })

  test('without a version, the state is told anew until a bookmark came', async () => {
    await create('a')
    const stop = new AbortController()
    const { seen, ended } = gather({ signal: stop.signal })
    await eventually('told', () => seen.length === 1)
    server.cutWatches()
    await eventually('told again', () => seen.length === 2)
    server.bookmark()
    await eventually('bookmark', () => seen.length === 3)
    server.cutWatches()
    await eventually('again', () => opened().length === 3)
    expect(versionsAsked()).toEqual([null, null, '101'])
    expect(seen).toEqual(['ADDED a', 'ADDED a', 'BOOKMARK'])
    stop.abort()
    await ended
  })

  test('an expired version ends it', async () => {
    await create('a')
    await create('b')
    server.compact()
    const { ended } = gather({ resourceVersion: '100' })
    const error = await ended
    expect(isGone(error)).toBe(true)
    expect(error).toMatchObject({ reason: 'Expired', message: expect.stringMatching(/too old resource version: 100/) })
  })

  test('what passes is tried again, a refusal is not', async () => {
    server.failNext.push({ code: 503, reason: 'ServiceUnavailable' }, { code: 429, reason: 'TooManyRequests' })
    server.failNext.push({ code: 403, reason: 'Forbidden' })
    const { ended, retries } = gather({ resourceVersion: '100' })
    expect(await ended).toMatchObject({ code: 403 })
    expect(retries).toMatchObject([{ code: 503 }, { code: 429 }])
  })

  test('a wait is ended by the signal, and lasts as long as the server asks', async () => {
    server.failNext.push({ code: 429, reason: 'TooManyRequests', retryAfterSeconds: 60 })
    const stop = new AbortController()
    const { ended, retries } = gather({ resourceVersion: '100', signal: stop.signal })
    await eventually('failed once', () => retries.length === 1)
    const reason = new Error('enough')
    stop.abort(reason)
    expect(await ended).toBe(reason)
    expect(opened()).toHaveLength(1)
  })

  test('delays double up to the longest', () => {
    const delays = [1, 2, 3, 6, 7, 5000].map((failures) => delayAfter(failures, { initialMs: 800, maxMs: 30_000 }, 0))
    expect(delays).toEqual([800, 1600, 3200, 25_600, 30_000, 30_000])
    expect(delayAfter(1, { initialMs: 800, maxMs: 30_000 }, 0.5)).toBe(1200)
  })

  test('lines are put together from pieces, also within a character', async () => {
    const bytes = new TextEncoder().encode('ä1\r\n\nö2\nleft')
    for (let cut = 0; cut <= bytes.length; cut++) {
      const pieces = async function* () {
        yield bytes.slice(0, cut)
        yield bytes.slice(cut)
      }
      const lines: string[] = []
      for await (const line of linesOf(pieces())) lines.push(line)
      expect(lines).toEqual(['ä1', 'ö2'])
    }
  })
})

describe('informer', () => {
  /** Starts one and writes down what it tells. */
  const start = (options: InformerOptions & InformerTransform<ConfigMap> = {}) => {
    const errors: unknown[] = []
    const log: string[] = []
    const onError = (error: unknown): void => void errors.push(error)
    const informer = startInformer(client, configMaps, { namespace, backoff, onError, ...options })
    const leave = informer.subscribe({
      added: ({ metadata }) => log.push(`+${metadata?.name}`),
      updated: ({ metadata, data }, old) => log.push(`~${metadata?.name} ${old.data?.['on']}→${data?.['on']}`),
      deleted: ({ metadata }) => log.push(`-${metadata?.name}`),
    })
    return { informer, log, errors, leave }
  }
  const turn = async (name: string, on: string): Promise<unknown> =>
    client.update(configMaps, { metadata: { name, namespace }, data: { on } })

  test('keeps of each object what it is told to keep', async () => {
    await create('a')
    await create('b')
    const { informer, log, errors } = start({
      pageSize: 1,
      transform: ({ metadata, data }) => {
        if (metadata?.name === 'odd') throw new Error('odd')
        const { name, namespace, uid, resourceVersion } = metadata ?? {}
        return { metadata: { name, namespace, uid, resourceVersion }, data: { on: `${data?.['on']}!` } } as ConfigMap
      },
    })
    await informer.synced
    expect(log).toEqual(['+a', '+b'])
    expect(informer.get({ name: 'b', namespace })).toEqual({
      metadata: { name: 'b', namespace, uid: expect.any(String), resourceVersion: expect.any(String) },
      data: { on: '1!' },
    })
    await turn('a', '2')
    await create('odd')
    await client.delete(configMaps, { name: 'a', namespace })
    await eventually('followed', () => log.length === 5)
    expect(log.slice(2)).toEqual(['~a 1!→2!', '+odd', '-a'])
    expect(informer.get({ name: 'odd', namespace })?.metadata?.labels).toEqual({ on: '1' })
    expect(errors.map(String)).toEqual(['Error: odd'])
    await informer.stop()
  })

  test('lists, follows, answers', async () => {
    await create('a')
    await create('b')
    const { informer, log, leave } = start({ pageSize: 1 })
    await informer.synced
    expect(log).toEqual(['+a', '+b'])
    await turn('a', '2')
    await client.delete(configMaps, { name: 'b', namespace })
    await create('c')
    await eventually('followed', () => log.length === 5)
    expect(log.slice(2)).toEqual(['~a 1→2', '-b', '+c'])
    expect(informer.get({ name: 'a', namespace })?.data).toEqual({ on: '2' })
    expect(informer.get({ name: 'b', namespace })).toBeUndefined()
    expect(informer.list().map(({ metadata }) => metadata?.name)).toEqual(['a', 'c'])
    const late: string[] = []
    informer.subscribe({ added: ({ metadata }) => late.push(metadata?.name ?? '') })
    expect(late).toEqual(['a', 'c'])
    leave()
    await create('d')
    await eventually('the other is told', () => late.length === 3)
    expect(log).toHaveLength(5)
    await informer.stop()
    await eventually('the watch ended', () => server.watchers() === 0)
    expect(informer.list()).toHaveLength(3)
  })

  test('many at once are told in their order, none is lost, whatever comes between', async () => {
    const { informer, log } = start()
    await informer.synced
    await eventually('watching', () => server.watchers() === 1)
    const line = (name: string, at: number): string =>
      `${JSON.stringify({ type: 'ADDED', object: { metadata: { name, namespace, uid: name, resourceVersion: `${at}` } } })}\n`
    const names = Array.from({ length: 3000 }, (_, index) => `c${index}`)
    server.writeToWatches(names.map((name, index) => line(name, 200 + index)).join(''))
    await eventually('told', () => log.length >= names.length)
    expect(log).toEqual(names.map((name) => `+${name}`))
    expect(informer.list()).toHaveLength(names.length)
    await informer.stop()
  })

  test('an expired version leads to a new list, told as differences', async () => {
    for (const name of ['same', 'changed', 'removed']) await create(name)
    const { informer, log, errors } = start()
    await informer.synced
    await eventually('watching', () => server.watchers() === 1)
    log.length = 0
    const path = (name: string): string => `/api/v1/namespaces/ns/configmaps/${name}`
    const changed = informer.get({ name: 'changed', namespace })
    server.cutWatches()
    server.put(path('changed'), { ...changed, data: { on: '2' } } as object)
    server.remove(path('removed'))
    server.put(path('new'), { metadata: { name: 'new', namespace, uid: 'new' } })
    server.compact()
    await eventually('told', () => log.length >= 3)
    expect(log).toEqual(['-removed', '~changed 1→2', '+new'])
    // The cut is told; the expired version is not, for it needs nobody's attention.
    expect(errors).toMatchObject([{ name: 'ConnectionError' }])
    await eventually('watching again', () => server.watchers() === 1)
    await turn('same', '3')
    await eventually('followed', () => log.length === 4)
    await informer.stop()
  })

  test('a version that the server has not reached leads to a new list', async () => {
    const { informer, log, errors } = start()
    await informer.synced
    await eventually('watching', () => server.watchers() === 1)
    server.failNext.push({ code: 504, reason: 'Timeout', causes: [{ reason: 'ResourceVersionTooLarge' }] })
    server.cutWatches()
    await eventually('told', () => errors.length === 2)
    await create('a')
    await eventually('followed', () => log.length === 1)
    expect(errors).toMatchObject([{ name: 'ConnectionError' }, { code: 504 }])
    const lists = server.seen.filter(({ method, url }) => method === 'GET' && !url.includes('watch'))
    expect(lists).toHaveLength(2)
    await informer.stop()
  })

  test('a failing server and a failing handler are told, and disturb nobody', async () => {
    server.failNext.push({ code: 403, reason: 'Forbidden' }, { code: 500, reason: 'InternalError' })
    const { informer, log, errors } = start()
    informer.subscribe({
      added: () => {
        throw new Error('handler')
      },
    })
    informer.subscribe({ added: () => log.push('third') })
    await informer.synced
    await create('a')
    await eventually('told', () => log.length === 2)
    expect(log).toEqual(['+a', 'third'])
    expect(errors).toMatchObject([{ code: 403 }, { code: 500 }, { message: 'handler' }])
    await informer.stop()
  })

  const bad = [
    { object: null, told: 'null is no object' },
    { object: 'text', told: '"text" is no object' },
    { object: { metadata: 'x' }, told: 'metadata "x"' },
    { object: { metadata: { namespace } }, told: 'nothing: name is no name' },
    { object: { metadata: { namespace, name: ['web'] } }, told: '["web"]: name is no name' },
    { object: { metadata: { namespace: 'ns/configmaps', name: 'a' } }, told: '"a": namespace is no name' },
    { object: { metadata: { namespace, name: 'b', uid: { toString: 1 } } }, told: 'uid {"toString":1} is no text' },
  ]
  const messages = bad.map(({ told }) => ({
    name: 'MalformedObjectError',
    message: expect.stringContaining(told) as string,
  }))

  test('what a list has that is no object with a name is left out and told once', async () => {
    server.alsoListed.push(...bad.map(({ object }) => object))
    await create('a')
    await create('b')
    const { informer, log, errors } = start({ pageSize: 1 })
    await informer.synced
    expect(log).toEqual(['+a', '+b'])
    expect(errors).toMatchObject(messages)
    // Another list tells only what is new.
    server.alsoListed.push(7)
    await eventually('watching', () => server.watchers() === 1)
    server.cutWatches()
    await create('c')
    server.compact()
    await eventually('listed again', () => log.length === 3)
    expect(errors.slice(messages.length)).toMatchObject([
      { name: 'ConnectionError' },
      { message: '/api/v1/namespaces/ns/configmaps: 7 is no object; it is left out' },
    ])
    await informer.stop()
  })

  test('what a watch tells of no object with a name is left out and told once; it goes on from there', async () => {
    const { informer, log, errors } = start()
    await informer.synced
    await eventually('watching', () => server.watchers() === 1)
    const line = (type: unknown, object: unknown): string => `${JSON.stringify({ type, object })}\n`
    for (const type of ['ADDED', 'MODIFIED', 'DELETED', 'ADDED'])
      server.writeToWatches(bad.map(({ object }) => line(type, object)).join(''))
    server.writeToWatches('null\n7\n' + line('BOOKMARK', null) + line('MAGIC', { metadata: { name: 'm' } }))
    server.writeToWatches(line('ADDED', { metadata: { name: 5, resourceVersion: '123' } }))
    await eventually('told', () => errors.length === messages.length + 4)
    expect(errors.slice(0, messages.length)).toMatchObject(messages)
    server.cutWatches()
    await eventually('again', () => versionsAsked().length === 2)
    expect(versionsAsked()[1]).toBe('123')
    await informer.stop()
    expect(log).toEqual([])
  })

  test.each([null, 'x', { items: {} }])('an answer that is no list (%j) is a failure, tried again', async (answer) => {
    await create('a')
    server.answerNext.push(answer)
    const { informer, log, errors } = start()
    await informer.synced
    expect(log).toEqual(['+a'])
    expect(errors).toMatchObject([
      { name: 'ConnectionError', message: expect.stringContaining('the answer is no list') as string },
    ])
    await informer.stop()
  })

  test('stopped before the first list, synced is rejected', async () => {
    server.failNext.push(...Array.from({ length: 100 }, () => ({ code: 500, reason: 'InternalError' })))
    const { informer, errors } = start()
    await eventually('tried', () => errors.length > 0)
    await informer.stop()
    await expect(informer.synced).rejects.toThrow('aborted')
  })
})
