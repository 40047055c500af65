// Users and tokens, asked of the API server as any client would.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeJwt } from 'jose'
import { createKubeClient, loadKubeconfig, nodes, pods } from '@nodelet/kube-client'
import type { KubeClient, KubeConnection } from '@nodelet/kube-client'
import type { TokenRequest, TokenReview } from 'kubernetes-types/authentication/v1.d.ts'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startCluster } from '../src/cluster.ts'
import type { Cluster } from '../src/cluster.ts'

let dataDir = ''
let cluster: Cluster
let connection: KubeConnection
let client: KubeClient
let pod: Pod

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'cluster-'))
  cluster = await startCluster({ dataDir, port: 0, nodeName: 'one', nodeIPs: ['127.0.0.1'] })
  connection = await loadKubeconfig(cluster.kubeconfigs.admin)
  client = createKubeClient(connection)
  pod = await client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'default' },
    spec: { schedulerName: 'none', containers: [{ name: 'main', image: 'web:1' }] },
  })
})
afterAll(async () => {
  await client.close()
  await cluster.close()
  await rm(dataDir, { recursive: true, force: true })
})

const post = async <T>(on: KubeClient, path: string, body: object): Promise<T> => {
  const headers = { 'content-type': 'application/json' }
  return JSON.parse(
    await (await on.raw({ method: 'POST', path, headers, body: JSON.stringify(body) })).body.text(),
  ) as T
}
const request = async (spec: object): Promise<NonNullable<TokenRequest['status']>> => {
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec }
  const path = '/api/v1/namespaces/default/serviceaccounts/default/token'
  return (await post<TokenRequest>(client, path, body)).status as NonNullable<TokenRequest['status']>
}
const review = async (token: string, audiences?: string[]): Promise<TokenReview['status']> => {
  const spec = { token, ...(audiences && { audiences }) }
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec }
  return (await post<TokenReview>(client, '/apis/authentication.k8s.io/v1/tokenreviews', body)).status
}
const boundToPod = (): object => ({
  boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: 'web', uid: pod.metadata?.uid },
})
const withToken = (token?: string): KubeClient =>
  createKubeClient({ server: connection.server, ...(connection.ca && { ca: connection.ca }), ...(token && { token }) })
const issuer = 'https://kubernetes.default.svc.cluster.local'

test('a token says who, for whom, until when and bound to what', async () => {
  const { token, expirationTimestamp } = await request({
    audiences: ['vault'],
    expirationSeconds: 600,
    ...boundToPod(),
  })
  const claims = decodeJwt(token)
  expect(claims).toMatchObject({
    iss: issuer,
    sub: 'system:serviceaccount:default:default',
    aud: ['vault'],
    'kubernetes.io': {
      namespace: 'default',
      serviceaccount: { name: 'default' },
      pod: { name: 'web', uid: pod.metadata?.uid },
    },
  })
  expect((claims.exp ?? 0) - (claims.iat ?? 0)).toBe(600)
  expect(Date.parse(expirationTimestamp)).toBe((claims.exp ?? 0) * 1000)
  expect(await review(token, ['vault', 'other'])).toMatchObject({ authenticated: true })
  expect((await review(token))?.authenticated ?? false).toBe(false)
})

test.each([
  [{ expirationSeconds: 599 }, /may not specify a duration less than 10 minutes/],
  [{ boundObjectRef: { kind: 'Node', name: 'one' } }, /cannot bind token for serviceaccount to type Node/],
  [{ boundObjectRef: { kind: 'Pod', name: 'none' } }, /pods "none" not found/],
])('a token with %j is refused', async (spec, message) => {
  await expect(request(spec)).rejects.toThrow(message)
})

test('a token of a pod is over with the pod', async () => {
  const mortal = await client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'mortal', namespace: 'default' },
    spec: { schedulerName: 'none', containers: [{ name: 'main', image: 'web:1' }] },
  })
  const { name = '', uid = '' } = mortal.metadata ?? {}
  const { token } = await request({ boundObjectRef: { kind: 'Pod', name, uid } })
  expect(await review(token)).toMatchObject({
    authenticated: true,
    audiences: [issuer],
    user: {
      username: 'system:serviceaccount:default:default',
      groups: ['system:serviceaccounts', 'system:serviceaccounts:default', 'system:authenticated'],
      extra: { 'authentication.kubernetes.io/pod-name': ['mortal'], 'authentication.kubernetes.io/pod-uid': [uid] },
    },
  })
  await client.delete(pods, { namespace: 'default', name }, { gracePeriodSeconds: 0 })
  expect((await review(token))?.authenticated ?? false).toBe(false)
})

test('a service account sees what there is, not what is in it', async () => {
  const { token } = await request({})
  await using account = withToken(token)
  await expect((await account.raw({ path: '/api' })).body.text()).resolves.toContain('APIVersions')
  await expect(account.list(pods, { namespace: 'default' })).rejects.toThrow(
    /pods is forbidden: User "system:serviceaccount:default:default" cannot list resource "pods" in API group "" in the namespace "default"/,
  )
  const body = {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SelfSubjectAccessReview',
    spec: { resourceAttributes: { verb: 'list', resource: 'pods', namespace: 'default' } },
  }
  expect(await post(account, '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', body)).toMatchObject({
    status: { allowed: false },
  })
})

test.each([undefined, 'abc', 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.'])('token %s is nobody’s', async (token) => {
  await using nobody = withToken(token)
  const error: unknown = await nobody.list(pods).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code: 401 })
})

test('the service proxy reads and does not write', async () => {
  await using proxy = createKubeClient(await loadKubeconfig(cluster.kubeconfigs.proxy))
  await proxy.list(nodes)
  await expect(proxy.delete(pods, { namespace: 'default', name: 'web' })).rejects.toThrow(/forbidden/)
})
