import { describe, expect, it } from 'vitest'
import { matchCredentials, credentialsOf } from '../src/pod/pull-secrets.ts'
import { defaultPullPolicy, parseImageReference } from '../src/pod/image-reference.ts'
import { type ManifestFacts, staticPodOf as podOf } from '../src/source/manifest.ts'
import { documentsOf } from '../src/source/documents.ts'

const facts: ManifestFacts = { nodeName: 'node-1', origin: { path: '/m/web.yaml' }, seenMs: 0 }
const staticPodOf = (text: string, about: ManifestFacts) => podOf(documentsOf(text)[0], about)
const manifest = (spec: string, metadata = 'name: web'): string =>
  `apiVersion: v1\nkind: Pod\nmetadata: {${metadata}}\nspec: ${spec}`
const plain = '{containers: [{name: main, image: nginx}]}'

describe('manifests', () => {
  it('become static pods of this node', () => {
    const pod = staticPodOf(manifest(plain), facts)
    expect(pod).toMatchObject({
      metadata: {
        name: 'web-node-1',
        namespace: 'default',
        uid: expect.stringMatching(/^[0-9a-f]{32}$/),
        annotations: {
          'kubernetes.io/config.source': 'file',
          'kubernetes.io/config.hash': pod.metadata?.uid,
          'kubernetes.io/config.seen': '1970-01-01T00:00:00.000Z',
        },
      },
      spec: {
        nodeName: 'node-1',
        restartPolicy: 'Always',
        tolerations: [{ operator: 'Exists', effect: 'NoExecute' }],
        containers: [{ imagePullPolicy: 'Always', terminationMessagePath: '/dev/termination-log' }],
      },
    })
  })
  it('of a URL bear no taint more than they say, and have its identity', () => {
    const pod = staticPodOf(manifest(plain), { ...facts, origin: { url: 'http://h/pods' } })
    expect(pod.spec?.tolerations).toEqual([])
    expect(pod.metadata?.annotations?.['kubernetes.io/config.source']).toBe('http')
    expect(pod.metadata?.uid).not.toBe(staticPodOf(manifest(plain), facts).metadata?.uid)
  })
  it('are the documents of a file, JSON or YAML', () => {
    expect(documentsOf('---\na: 1\n---\n# nothing\n---\nb: 2\n')).toEqual([{ a: 1 }, { b: 2 }])
    expect(documentsOf('{"a": 1}')).toEqual([{ a: 1 }])
    expect(documentsOf('')).toEqual([])
  })
  it('have an identity of content, file and node', () => {
    const uids = [
      staticPodOf(manifest(plain), facts),
      staticPodOf(manifest(plain), { ...facts, seenMs: 5 }),
      staticPodOf(manifest(plain), { ...facts, origin: { path: '/m/other.yaml' } }),
      staticPodOf(manifest(plain), { ...facts, nodeName: 'node-2' }),
      staticPodOf(manifest('{containers: [{name: main, image: nginx:2}]}'), facts),
    ].map(({ metadata }) => metadata?.uid)
    expect(new Set(uids).size).toBe(4)
    expect(uids[0]).toBe(uids[1])
  })
  it.each([
    ['kind: [', /neither JSON nor YAML/],
    ['', /document|apiVersion/],
    [manifest(plain).replace('Pod', 'Job'), /^kind: /],
    [manifest(plain, 'labels: {}'), /^metadata.name: /],
    [manifest('{containers: []}'), /^spec.containers: /],
    [manifest('{containers: [{name: A, image: i}]}'), /^spec.containers\[0\].name: /],
    [
      manifest('{serviceAccountName: x, containers: [{name: a, image: i}]}'),
      /static pods may not reference serviceaccounts/,
    ],
    [manifest('{volumes: [{name: v, secret: {}}], containers: [{name: a, image: i}]}'), /may not reference secrets/],
    [
      manifest('{containers: [{name: a, image: i, envFrom: [{configMapRef: {name: c}}]}]}'),
      /may not reference configmaps/,
    ],
  ])('%s', (text, message) => {
    expect(() => staticPodOf(text, facts)).toThrow(message)
  })
})

describe('image names', () => {
  it.each([
    ['busybox', { host: 'docker.io', path: 'library/busybox' }],
    ['team/app:1.2', { host: 'docker.io', path: 'team/app', tag: '1.2' }],
    ['localhost:5000/a/b', { host: 'localhost:5000', path: 'a/b' }],
    [`r.io/a@sha256:${'0'.repeat(64)}`, { host: 'r.io', path: 'a', digest: `sha256:${'0'.repeat(64)}` }],
  ])('%s', (text, expected) => expect(parseImageReference(text)).toEqual(expected))
  it.each(['', 'A', 'a:b:c', 'a@b', 'a//b', 'r.io/', 'a b'])('refuses %j', (text) => {
    expect(() => parseImageReference(text)).toThrow(/couldn't parse image name/)
  })
  it('are pulled always when they are the latest', () => {
    const policies = ['a', 'a:latest', 'a:1', `a@sha256:${'0'.repeat(64)}`].map(defaultPullPolicy)
    expect(policies).toEqual(['Always', 'Always', 'IfNotPresent', 'IfNotPresent'])
  })
})

describe('pull secrets', () => {
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64')
  const auths = {
    'https://index.docker.io/v1/': { auth: Buffer.from('hub:secret').toString('base64') },
    'r.io': { username: 'u', password: 'p' },
    'r.io/team': { username: 'team', password: 'p' },
    '*.example.com:5000': { username: 'star', password: 'p' },
  }
  const credentials = credentialsOf({ data: { '.dockerconfigjson': encode({ auths }) } })
  it.each([
    ['busybox', ['hub']],
    ['r.io/other/app', ['u']],
    ['r.io/team/app', ['team', 'u']],
    ['a.example.com:5000/x', ['star']],
    ['a.example.com/x', []],
    ['quay.io/x', []],
  ])('%s', (image, users) => {
    expect(matchCredentials(image, credentials).map(({ auth }) => auth.username)).toEqual(users)
  })
  it('a broken one is as good as none', () =>
    expect(credentialsOf({ data: { '.dockerconfigjson': 'e3s=' } })).toEqual([]))
})
