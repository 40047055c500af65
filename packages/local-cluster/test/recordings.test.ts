// What a kube-apiserver answered, request by request, against what this one answers.
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startApi } from './api.ts'
import type { Answer, TestApi } from './api.ts'
import { knownDifferences } from './known-differences.ts'
import { learn, shape, substitute, withoutEphemeral } from './shape.ts'
import type { Known } from './shape.ts'

interface Step {
  note: string | null
  request: { method: string; path: string; headers: Record<string, string>; body: unknown }
  response: { status: number; contentType: string; body?: unknown; text?: string; stream?: unknown[] }
}

const folder = new URL('fixtures/recordings/', import.meta.url)
const stepsOf = (file: string): Step[] => JSON.parse(readFileSync(new URL(`${file}.json`, folder), 'utf8')) as Step[]

const bodyOf = (body: unknown, known: Known): { body?: string } =>
  body === null ? {} : { body: typeof body === 'string' ? body : JSON.stringify(substitute(body, known)) }

describe.each(['crud', 'pods', 'services', 'nodes', 'auth'])('%s', (file) => {
  let api: TestApi
  const known: Known = new Map()
  beforeAll(async () => {
    api = await startApi()
  })
  afterAll(async () => api[Symbol.asyncDispose]())

  const send = async ({ note, request: { method, path, headers, body } }: Step): Promise<Answer> => {
    const call = { method, path, ...bodyOf(body, known) }
    // The recording leaves out the token that was sent.
    return note === 'bad token'
      ? api.call({ ...call, headers: { ...headers, authorization: 'Bearer junk' }, certificate: false })
      : api.call({ ...call, headers })
  }

  test.each(
    stepsOf(file).map((step, index) => ({ step, index, title: `${index} ${step.note ?? step.request.method}` })),
  )('$title', async ({ step, index, title }) => {
    const { response } = step
    const answer = await send(step)
    if (knownDifferences[file]?.[title] !== undefined) return
    const got: unknown = response.body === undefined ? answer.text : JSON.parse(answer.text)
    learn(response.body, got, known)
    const isLater = file === 'pods' && index > 21
    const compared = (body: unknown): unknown => (isLater ? withoutEphemeral(shape(body)) : shape(body))
    expect({ status: answer.status, body: compared(got) }).toEqual({
      status: response.status,
      body: compared(response.body ?? response.text),
    })
  })
})
