// Rules of the server that the recordings do not show.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startApi } from './api.ts'
import type { Answer, TestApi } from './api.ts'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(async () => api[Symbol.asyncDispose]())

const maps = '/api/v1/namespaces/default/configmaps'
const json = { 'content-type': 'application/json' }
const create = async (name: string): Promise<Answer> =>
  api.call({ method: 'POST', path: maps, headers: json, body: JSON.stringify({ metadata: { name } }) })
const versionOf = ({ text }: Answer): string =>
  (JSON.parse(text) as { metadata: { resourceVersion: string } }).metadata.resourceVersion

test('a refused patch leaves the stored object and its version alone', async () => {
  const before = versionOf(await create('refused'))
  const path = `${maps}/refused`
  const body = JSON.stringify({ metadata: { uid: 'other' } })
  const headers = { 'content-type': 'application/merge-patch+json' }
  expect(await api.call({ method: 'PATCH', path, headers, body })).toMatchObject({ status: 422 })
  expect(versionOf(await api.call({ method: 'GET', path }))).toBe(before)
})

test('who is nobody gets 401, also with a token of somebody else', async () => {
  for (const headers of [{}, { authorization: 'Bearer junk' }]) {
    const { status, text } = await api.call({ method: 'GET', path: maps, headers, certificate: false })
    expect({ status, reason: (JSON.parse(text) as { reason: string }).reason }).toEqual({
      status: 401,
      reason: 'Unauthorized',
    })
  }
})

test('a service account is told what it may not do, as RBAC words it; its token ends with its pod', async () => {
  const pods = '/api/v1/namespaces/default/pods'
  const pod = { metadata: { name: 'p' }, spec: { containers: [{ name: 'c', image: 'x' }] } }
  expect(await api.call({ method: 'POST', path: pods, headers: json, body: JSON.stringify(pod) })).toMatchObject({
    status: 201,
  })
  const spec = { expirationSeconds: 600, boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'p' } }
  const path = '/api/v1/namespaces/default/serviceaccounts/default/token'
  const answer = await api.call({ method: 'POST', path, headers: json, body: JSON.stringify({ spec }) })
  const { token } = (JSON.parse(answer.text) as { status: { token: string } }).status
  const asAccount = async (): Promise<Answer> =>
    api.call({ method: 'GET', path: maps, headers: { authorization: `Bearer ${token}` }, certificate: false })
  const refused = await asAccount()
  expect(refused.status).toBe(403)
  expect((JSON.parse(refused.text) as { message: string }).message).toBe(
    'configmaps is forbidden: User "system:serviceaccount:default:default" cannot list resource "configmaps" in API group "" in the namespace "default"',
  )
  await api.call({ method: 'DELETE', path: `${pods}/p` })
  expect((await asAccount()).status).toBe(401)
})

test('a resize changes resources and nothing else, and keeps the class of service', async () => {
  const pods = '/api/v1/namespaces/default/pods'
  const resources = { requests: { cpu: '1' } }
  const pod = { metadata: { name: 'sized' }, spec: { containers: [{ name: 'c', image: 'x', resources }] } }
  await api.call({ method: 'POST', path: pods, headers: json, body: JSON.stringify(pod) })
  const patch = async (subresource: string, spec: object): Promise<Answer> =>
    api.call({
      method: 'PATCH',
      path: `${pods}/sized${subresource}`,
      headers: { 'content-type': 'application/strategic-merge-patch+json' },
      body: JSON.stringify({ spec }),
    })
  const larger = { containers: [{ name: 'c', image: 'other', resources: { requests: { cpu: '2' } } }] }
  expect((await patch('', larger)).status).toBe(422)
  const answer = await patch('/resize', larger)
  expect(answer.status).toBe(200)
  expect(JSON.parse(answer.text)).toMatchObject({
    metadata: { generation: 2 },
    spec: { containers: [{ name: 'c', image: 'x', resources: { requests: { cpu: '2' } } }] },
  })
  const best = await patch('/resize', { containers: [{ name: 'c', resources: { requests: { cpu: null } } }] })
  expect([best.status, (JSON.parse(best.text) as { message: string }).message]).toEqual([
    422,
    'Pod "sized" is invalid: spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing',
  ])
})

test('an ephemeral container is added, and then stays as it is', async () => {
  const path = '/api/v1/namespaces/default/pods/sized/ephemeralcontainers'
  const headers = { 'content-type': 'application/strategic-merge-patch+json' }
  const patch = async (one: object): Promise<Answer> =>
    api.call({ method: 'PATCH', path, headers, body: JSON.stringify({ spec: { ephemeralContainers: [one] } }) })
  expect((await patch({ name: 'debugger', image: 'tools' })).status).toBe(200)
  const changed = await patch({ name: 'debugger', image: 'others' })
  expect(changed.status).toBe(422)
  expect(changed.text).toContain('existing ephemeral containers \\"debugger\\" may not be changed')
})
