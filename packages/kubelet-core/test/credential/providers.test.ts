// Credentials from programs that really run.
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, beforeEach, expect, it, test } from 'vitest'
import { parseCredentialProviderConfig } from '../../src/credential/config.ts'
import { nodeCredentialFiles, readNodeCredentials } from '../../src/credential/node-files.ts'
import { createCredentialProviders, type CredentialProvidersOptions } from '../../src/credential/providers.ts'
import { silentLogger } from '../../src/log.ts'

let folder: string
let nowMs: number
let warnings: string[]
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'credentials-'))
  nowMs = 0
  warnings = []
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

const v1 = 'credentialprovider.kubelet.k8s.io/v1'
const pod: Pod = { metadata: { name: 'web', namespace: 'shop' } }
const { signal } = new AbortController()

/** A program that writes down what it is asked and gives a fixed answer. */
async function program(name: string, answer: object | string): Promise<void> {
  const path = join(folder, name)
  const text =
    typeof answer === 'string' ? answer : `cat > ${path}.asked.$$\ncat <<'END'\n${JSON.stringify(answer)}\nEND\n`
  await writeFile(path, `#!/bin/sh\n${text}`)
  await chmod(path, 0o755)
}
const answering = (auth: object, more: object = {}): object => ({
  apiVersion: v1,
  kind: 'CredentialProviderResponse',
  cacheKeyType: 'Image',
  auth,
  ...more,
})
const provider = (name: string, more: object = {}): object => ({
  name,
  matchImages: ['*.example.com'],
  defaultCacheDuration: '10m',
  apiVersion: v1,
  ...more,
})
const configOf = (...providers: object[]): object => ({
  apiVersion: 'kubelet.config.k8s.io/v1',
  kind: 'CredentialProviderConfig',
  providers,
})

function open(providers: object[], more: Partial<CredentialProvidersOptions> = {}) {
  const all = createCredentialProviders({
    providers: parseCredentialProviderConfig(configOf(...providers), 'test'),
    binDir: folder,
    clock: { now: () => nowMs, after: () => () => {} },
    log: { ...silentLogger, warn: ({ err }: { err?: Error }) => void warnings.push(err?.message ?? '') },
    ...more,
  })
  return async (image: string): Promise<string[]> =>
    (await all.credentials(image, pod, signal)).map(({ username, password }) => `${username}:${password}`)
}
async function asked(name: string): Promise<unknown[]> {
  const files = (await readdir(folder)).filter((file) => file.startsWith(`${name}.asked.`))
  return Promise.all(files.map(async (file) => JSON.parse(await readFile(join(folder, file), 'utf8')) as unknown))
}

it('asks the programs whose images match, and takes what fits, the most specific first', async () => {
  const one = { username: 'u', password: 'p' }
  await program('one', answering({ '*.example.com': one, 'a.example.com/team': { username: 'team', password: 't' } }))
  await program('other', answering({ '*.other.com': one }))
  const credentials = open([provider('one'), provider('other', { matchImages: ['*.other.com'] })])
  expect(await credentials('a.example.com/team/app:1')).toEqual(['team:t', 'u:p'])
  expect(await credentials('quay.io/app')).toEqual([])
  expect(await asked('one')).toEqual([
    { apiVersion: v1, kind: 'CredentialProviderRequest', image: 'a.example.com/team/app:1' },
  ])
  expect(await asked('other')).toEqual([])
})

it('remembers an answer for its image, registry or all, as long as it says', async () => {
  const auth = { '*.example.com': { username: 'u', password: 'p' } }
  await program('registry', answering(auth, { cacheKeyType: 'Registry', cacheDuration: '1m' }))
  const credentials = open([provider('registry')])
  await Promise.all([credentials('a.example.com/x'), credentials('a.example.com/x')])
  await credentials('a.example.com/y')
  expect(await asked('registry')).toHaveLength(1)
  await credentials('b.example.com/x')
  expect(await asked('registry')).toHaveLength(2)
  nowMs = 60_001
  await credentials('a.example.com/x')
  expect(await asked('registry')).toHaveLength(3)
})

it('has its arguments and environment', async () => {
  const body = `echo '${JSON.stringify(answering({}))}' | sed "s/{}/{\\"r.example.com\\":{\\"username\\":\\"$1\\",\\"password\\":\\"$SECRET\\"}}/"`
  await program('env', body)
  const credentials = open([provider('env', { args: ['first'], env: [{ name: 'SECRET', value: 'hush' }] })])
  expect(await credentials('r.example.com/app')).toEqual(['first:hush'])
})

test.each<[string, object | string, RegExp]>([
  ['fails', 'echo oops >&2; exit 3', /it ended with exit code 3: oops$/],
  ['says no JSON', 'echo hello', /its answer is not JSON/],
  ['answers another kind', { apiVersion: v1, kind: 'Other' }, /its answer has a wrong kind/],
  ['answers in another version', answering({}, { apiVersion: 'v9' }), /it answers in v9, asked in credential/],
  ['says too much', 'head -c 2000000 /dev/zero', /longer than 1 MiB/],
])('one that %s gives none, and is told of', async (_title, answer, message) => {
  await program('bad', answer)
  const auth = { '*.example.com': { username: 'u', password: 'p' } }
  await program('good', answering(auth))
  expect(await open([provider('bad'), provider('good')])('a.example.com/x')).toEqual(['u:p'])
  expect(warnings).toEqual([expect.stringMatching(message)])
})

it('gets the token of a service account where it asks for one', async () => {
  await program('sa', answering({}, { cacheKeyType: 'Global' }))
  const tokenAttributes = {
    serviceAccountTokenAudience: 'registry',
    cacheType: 'ServiceAccount',
    requireServiceAccount: true,
    requiredServiceAccountAnnotationKeys: ['role'],
  }
  const account = async (_pod: Pod, audience: string) => ({
    uid: 'u1',
    token: `token for ${audience}`,
    annotations: { role: 'r', other: 'o' },
  })
  await open([provider('sa', { tokenAttributes })], { account })('a.example.com/x')
  expect(await asked('sa')).toMatchObject([
    { serviceAccountToken: 'token for registry', serviceAccountAnnotations: { role: 'r' } },
  ])
  await open([provider('sa', { tokenAttributes })])('a.example.com/x')
  expect(warnings).toEqual(['the pod has no service account, which the provider requires'])
})

test.each<[string, object, string]>([
  ['no programs', configOf(), 'test: providers: Too small'],
  ['a path as a name', configOf(provider('a/b')), 'test: providers.0.name: must be a file name without blanks'],
  ['a name twice', configOf(provider('a'), provider('a')), 'test: providers: "a" is there twice'],
  [
    'a negative duration',
    configOf(provider('a', { defaultCacheDuration: '-1m' })),
    'test: providers.0.defaultCacheDuration: must be a duration that is not negative',
  ],
  ['another version', configOf(provider('a', { apiVersion: 'v1' })), 'test: providers.0.apiVersion: Invalid option'],
])('a configuration with %s is refused', (_title, config, message) => {
  expect(() => parseCredentialProviderConfig(config, 'test')).toThrow(message)
})

it("the node's own files count, all that are there; a broken one is told of", async () => {
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(folder, name), text)
    return join(folder, name)
  }
  const auths = { 'r.io': { auth: Buffer.from('u:p').toString('base64') } }
  const paths = [
    await file('good.json', JSON.stringify({ auths })),
    await file('broken.json', '{'),
    join(folder, 'none.json'),
  ]
  const told: unknown[] = []
  const log = { ...silentLogger, warn: ({ file: path }: { file?: string }) => void told.push(path) }
  expect(await readNodeCredentials(paths, log)).toMatchObject([{ pattern: 'r.io', auth: { username: 'u' } }])
  expect(told).toEqual([paths[1]])
})

it('files of the node are looked for in the order of the Go kubelet', () => {
  const places = ['/root-dir/config.json', `${process.cwd()}/config.json`, `${homedir()}/.docker/config.json`]
  expect(nodeCredentialFiles('/root-dir')).toEqual([...places, '/.docker/config.json'])
  expect(nodeCredentialFiles(process.cwd())).toEqual([...places.slice(1), '/.docker/config.json'])
})
