import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startApi } from './api.ts'
import type { TestApi } from './api.ts'

let api: TestApi
beforeAll(async () => {
  api = await startApi()
})
afterAll(async () => api[Symbol.asyncDispose]())

interface Found {
  metadata: { uid: string; deletionTimestamp?: string; finalizers?: string[]; ownerReferences?: object[] }
}

const at = (name = ''): string => `/api/v1/namespaces/default/configmaps${name && `/${name}`}`
const headers = { 'content-type': 'application/json' }
async function ask(method: string, path: string, body?: object): Promise<{ status: number; found: Found }> {
  const { status, text } = await api.call({ method, path, headers, ...(body && { body: JSON.stringify(body) }) })
  return { status, found: JSON.parse(text) as Found }
}

/** Makes a ConfigMap that others own. */
async function make(name: string, owners: Record<string, string> = {}, more: object = {}): Promise<string> {
  const ownerReferences = Object.entries(owners).map(([owner, uid]) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    name: owner,
    uid,
    blockOwnerDeletion: true,
  }))
  const { status, found } = await ask('POST', at(), { metadata: { name, ownerReferences, ...more } })
  expect(status).toBe(201)
  return found.metadata.uid
}

const statusOf = async (name: string): Promise<number> => (await ask('GET', at(name))).status
async function gone(name: string): Promise<void> {
  for (let left = 50; left > 0 && (await statusOf(name)) !== 404; left -= 1) await wait(10)
  expect(await statusOf(name)).toBe(404)
}
const propagate = (propagationPolicy: string): object => ({ propagationPolicy })

test('Background: the owner goes at once, what it owns after it', async () => {
  const owner = await make('back')
  await make('back-owned', { back: owner })
  const { status, found } = await ask('DELETE', at('back'), propagate('Background'))
  expect([status, found]).toMatchObject([200, { kind: 'Status', status: 'Success' }])
  expect(await statusOf('back')).toBe(404)
  await gone('back-owned')
})

test.for([
  ['Orphan', propagate('Orphan')],
  ['orphanDependents', { orphanDependents: true }],
] as const)('%s: what was owned stays, without its owner', async ([name, wishes]) => {
  const owner = await make(`o-${name.toLowerCase()}`)
  const owned = `owned-${name.toLowerCase()}`
  await make(owned, { [`o-${name.toLowerCase()}`]: owner })
  const { found } = await ask('DELETE', at(`o-${name.toLowerCase()}`), wishes)
  expect(found.metadata).toMatchObject({ finalizers: ['orphan'], deletionTimestamp: expect.any(String) as string })
  await gone(`o-${name.toLowerCase()}`)
  await wait(20)
  const left = await ask('GET', at(owned))
  expect(left.status).toBe(200)
  expect(left.found.metadata.ownerReferences).toBeUndefined()
})

test('Foreground: the owner waits for what it owns, to the last generation', async () => {
  const owner = await make('fore')
  const child = await make('fore-child', { fore: owner })
  await make('fore-grandchild', { 'fore-child': child }, { finalizers: ['example.com/held'] })
  const { found } = await ask('DELETE', at('fore'), propagate('Foreground'))
  expect(found.metadata.finalizers).toEqual(['foregroundDeletion'])
  await wait(50)
  const state = await Promise.all(['fore', 'fore-child', 'fore-grandchild'].map(async (name) => ask('GET', at(name))))
  expect(
    state.map(({ found: one }) => [one.metadata.finalizers, one.metadata.deletionTimestamp !== undefined]),
  ).toEqual([
    [['foregroundDeletion'], true],
    [['foregroundDeletion'], true],
    [['example.com/held'], true],
  ])
  const patch = { method: 'PATCH', path: at('fore-grandchild'), body: '{"metadata":{"finalizers":null}}' }
  await api.call({ ...patch, headers: { 'content-type': 'application/merge-patch+json' } })
  await Promise.all(['fore-grandchild', 'fore-child', 'fore'].map(gone))
})

test('Foreground: what somebody else owns too stays theirs', async () => {
  const [one, two] = [await make('one'), await make('two')]
  await make('shared', { one, two })
  await ask('DELETE', at('one'), propagate('Foreground'))
  await gone('one')
  const { found } = await ask('GET', at('shared'))
  expect(found.metadata.ownerReferences).toMatchObject([{ name: 'two' }])
})

test('a policy that there is not is refused', async () => {
  await make('kept')
  const { status, found } = await ask('DELETE', at('kept'), propagate('Sideways'))
  expect([status, found]).toMatchObject([422, { reason: 'Invalid' }])
  const both = await ask('DELETE', at('kept'), { propagationPolicy: 'Orphan', orphanDependents: true })
  expect(both.status).toBe(400)
  expect(await statusOf('kept')).toBe(200)
})
