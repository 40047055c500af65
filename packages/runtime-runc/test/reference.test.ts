import { expect, test } from 'vitest'
import { parseReference, printReference } from '../src/index.ts'
import { AuthConfig } from '@nodelet/cri-api'
import { isForHost, parseChallenge } from '../src/image/credentials.ts'

const digest = `sha256:${'a'.repeat(64)}`

test.each([
  ['busybox', 'docker.io/library/busybox:latest'],
  ['busybox:1.36', 'docker.io/library/busybox:1.36'],
  ['user/app', 'docker.io/user/app:latest'],
  ['localhost/app', 'localhost/app:latest'],
  ['localhost:5000/a/b:t', 'localhost:5000/a/b:t'],
  ['registry.k8s.io/pause:3.10', 'registry.k8s.io/pause:3.10'],
  ['index.docker.io/nginx', 'docker.io/library/nginx:latest'],
  [`nginx@${digest}`, `docker.io/library/nginx@${digest}`],
  [`host.example/n:1@${digest}`, `host.example/n:1@${digest}`],
  ['[::1]:5000/app', '[::1]:5000/app:latest'],
])('%s is %s', (text, canonical) => {
  expect(printReference(parseReference(text))).toBe(canonical)
})

test.each([
  ['', 'invalid reference format'],
  ['Busybox', 'repository name must be lowercase'],
  ['a'.repeat(64), 'this is an image ID, not a name'],
  ['a@b@c', 'more than one "@"'],
  ['a//b', 'invalid reference format'],
  ['a:', 'invalid reference format'],
  ['a:b:c', 'invalid reference format'],
  ['a@sha256:12', 'invalid reference format: a digest'],
  ['host.example/', 'invalid reference format'],
  [`${'a'.repeat(260)}`, 'invalid reference format'],
])('%j is refused: %s', (text, problem) => {
  expect(() => parseReference(text)).toThrow(problem)
})

test('challenges', () => {
  expect(parseChallenge('Basic realm="x"')).toEqual({ scheme: 'basic' })
  expect(parseChallenge('Bearer realm="https://auth.example/token",service="s",scope="repository:a:pull"')).toEqual({
    scheme: 'bearer',
    realm: 'https://auth.example/token',
    service: 's',
    scopes: ['repository:a:pull'],
  })
  expect(parseChallenge('Basic realm="x", Bearer realm="https://a.example/t",service=s')).toEqual({
    scheme: 'bearer',
    realm: 'https://a.example/t',
    service: 's',
    scopes: [],
  })
  expect(parseChallenge('Bearer realm="no url", Basic realm="a, b"')).toEqual({ scheme: 'basic' })
  expect(parseChallenge('Negotiate')).toBeUndefined()
})

test.each([
  ['', 'any.example', true],
  ['host.example:5000', 'host.example:5000', true],
  ['https://index.docker.io/v1/', 'docker.io', true],
  ['http://host.example/', 'host.example', true],
  ['other.example', 'host.example', false],
])('credentials of %j for %s: %s', (serverAddress, host, isUsed) => {
  expect(isForHost(AuthConfig.fromPartial({ serverAddress }), host)).toBe(isUsed)
})
