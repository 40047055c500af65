import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  isAlreadyExists,
  isConflict,
  isGone,
  isNotFound,
  isTransient,
  isVersionTooLarge,
  StatusError,
} from '../src/index.ts'
import { statusErrorOf } from '../src/errors.ts'
import { runWatch } from '../src/watch.ts'

/** Refusals recorded from a Kubernetes 1.36 API server. */
interface Refusal {
  note: string
  tried: string
  status: number
  body?: string
  event?: { type: string; object: { code: number; message: string; reason: string } }
}
const refusals = JSON.parse(readFileSync(new URL('fixtures/refusals.json', import.meta.url), 'utf8')) as Refusal[]

describe('recorded refusals', () => {
  test.each(refusals.filter(({ body }) => body?.startsWith('{')))(
    '$note: $tried $status',
    ({ tried, status, body = '' }) => {
      const error = statusErrorOf(tried, status, body)
      const said = JSON.parse(body) as { message: string; reason?: string; details?: object }
      expect(error.message).toBe(`${tried}: ${said.message}`)
      expect([error.code, error.reason, error.details]).toEqual([status, said.reason ?? '', said.details ?? {}])
      expect(isNotFound(error)).toBe(status === 404)
      expect(isGone(error)).toBe(status === 410)
      expect(isAlreadyExists(error)).toBe(said.reason === 'AlreadyExists')
      expect(isConflict(error)).toBe(said.reason === 'Conflict')
      expect(isVersionTooLarge(error)).toBe(said.message.startsWith('Timeout: Too large'))
      expect(isTransient(error)).toBe(status === 429 || status >= 500)
    },
  )

  test.each(refusals.filter(({ event }) => event))('within a watch: $note', async ({ tried, event }) => {
    const stop = new AbortController()
    const retries: unknown[] = []
    const open = async () => {
      await Promise.resolve()
      return [new TextEncoder().encode(`${JSON.stringify(event)}\n`)] as unknown as AsyncIterable<Uint8Array>
    }
    const onRetry = (error: unknown): void => {
      retries.push(error)
      stop.abort(new Error('seen'))
    }
    const first = runWatch(tried, open, { signal: stop.signal, onRetry }).next()
    const error: unknown = await first.catch((reason: unknown) => reason)
    const met = retries[0] ?? error
    expect(met).toBeInstanceOf(StatusError)
    expect(met).toMatchObject({ code: event?.object.code, reason: event?.object.reason })
    expect(retries).toHaveLength((event?.object.code ?? 0) >= 500 ? 1 : 0)
  })
})

test('the recorded answer in plain text', () => {
  const plain = refusals.filter(({ body }) => body !== undefined && !body.startsWith('{'))
  expect(plain.map(({ tried, status, body = '' }) => statusErrorOf(tried, status, body).message)).toEqual([
    'GET /apis/nogroup.test/v1: HTTP status 404: 404 page not found',
  ])
})

test.each([
  ['', 'GET /x: HTTP status 502'],
  ['<html>bad gateway</html>\n', 'GET /x: HTTP status 502: <html>bad gateway</html>'],
  ['{"a":1}', 'GET /x: HTTP status 502: {"a":1}'],
  ['null', 'GET /x: HTTP status 502: null'],
])('an answer that is no Status: %j', (body, message) => {
  const error = statusErrorOf('GET /x', 502, body)
  expect([error.message, error.code, error.reason]).toEqual([message, 502, ''])
})
