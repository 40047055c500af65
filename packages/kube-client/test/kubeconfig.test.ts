import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { connectionOf, KubeconfigError, loadKubeconfig, parseKubeconfig } from '../src/index.ts'
import { execInfo } from '../src/exec-plugin.ts'

const PEM = '-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n'
const B64 = Buffer.from(PEM).toString('base64')

const config = (cluster: object = {}, user: object | null = {}, rest: object = {}): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'x',
    clusters: [{ name: 'c', cluster: { server: 'https://10.0.0.1:6443/', ...cluster } }],
    users: [{ name: 'u', user }],
    contexts: [
      { name: 'x', context: { cluster: 'c', user: 'u', namespace: 'n' } },
      { name: 'anonymous', context: { cluster: 'c' } },
      { name: 'broken', context: { cluster: 'none', user: 'u' } },
    ],
    ...rest,
  })
const resolved = (cluster?: object, user?: object | null, context?: string) =>
  connectionOf(parseKubeconfig(config(cluster, user)), { folder: '/etc/kube', ...(context && { context }) })

const base = { server: 'https://10.0.0.1:6443', namespace: 'n' }
const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'get-token', interactiveMode: 'Never' }

test.each<[string, object, object | null, object]>([
  ['nothing', {}, {}, base],
  ['no user body', {}, null, base],
  ['empty texts are absent', { 'certificate-authority': '' }, { token: '' }, base],
  ['unknown fields are let through', { colour: 1 }, { colour: 1 }, base],
  ['inline CA', { 'certificate-authority-data': B64 }, {}, { ...base, ca: { pem: PEM } }],
  [
    'CA file beside the kubeconfig',
    { 'certificate-authority': 'ca.crt' },
    {},
    { ...base, ca: { file: '/etc/kube/ca.crt' } },
  ],
  [
    'data wins over file',
    { 'certificate-authority': 'x', 'certificate-authority-data': B64 },
    {},
    { ...base, ca: { pem: PEM } },
  ],
  ['server name', { 'tls-server-name': 'kubernetes' }, {}, { ...base, tlsServerName: 'kubernetes' }],
  ['insecure', { 'insecure-skip-tls-verify': true }, {}, { ...base, insecureSkipTlsVerify: true }],
  ['token', {}, { token: 't' }, { ...base, token: 't' }],
  ['token file', {}, { tokenFile: '/var/t' }, { ...base, tokenFile: '/var/t' }],
  ['basic', {}, { username: 'u', password: 'p' }, { ...base, basic: { username: 'u', password: 'p' } }],
  ['impersonation', {}, { as: 'other' }, { ...base, impersonate: 'other' }],
  [
    'client certificate',
    {},
    { 'client-certificate': 'c.crt', 'client-key-data': B64 },
    { ...base, clientCertificate: { file: '/etc/kube/c.crt' }, clientKey: { pem: PEM } },
  ],
  [
    'exec',
    {},
    { exec: { ...exec, args: ['a'], env: [{ name: 'A', value: 'b' }], installHint: 'h' } },
    {
      ...base,
      exec: { apiVersion: exec.apiVersion, command: 'get-token', args: ['a'], env: { A: 'b' }, installHint: 'h' },
    },
  ],
  [
    'exec with a path',
    {},
    { exec: { ...exec, command: './bin/get' } },
    { ...base, exec: { apiVersion: exec.apiVersion, command: '/etc/kube/bin/get', args: [], env: {} } },
  ],
])('%s', (_what, cluster, user, expected) => {
  expect(resolved(cluster, user)).toEqual(expected)
})

test('contexts', () => {
  expect(resolved({}, { token: 't' }, 'anonymous')).toEqual({ server: base.server })
  expect(() => resolved({}, {}, 'broken')).toThrow('no cluster "none"; there is "c"')
  expect(() => resolved({}, {}, 'other')).toThrow('no context "other"; there is "x", "anonymous", "broken"')
  const none = parseKubeconfig('apiVersion: v1\nkind: Config\nclusters: null\n')
  expect(() => connectionOf(none)).toThrow('no current-context')
})

test.each<[string, object, object, string]>([
  ['CA is not base64', { 'certificate-authority-data': '***' }, {}, 'certificate-authority-data is not base64'],
  ['CA is not PEM', { 'certificate-authority-data': 'aGk=' }, {}, 'is not PEM'],
  ['CA and insecure', { 'certificate-authority': 'x', 'insecure-skip-tls-verify': true }, {}, 'remove one'],
  ['proxy', { 'proxy-url': 'http://p' }, {}, 'proxy-url of cluster "c" is not supported'],
  ['key only', {}, { 'client-key': 'k' }, 'a client key but no certificate'],
  ['certificate only', {}, { 'client-certificate': 'k' }, 'a client certificate but no key'],
  ['auth-provider', {}, { 'auth-provider': { name: 'gcp' } }, 'use exec'],
  ['interactive', {}, { exec: { ...exec, interactiveMode: 'Always' } }, 'wants a terminal'],
  ['old exec', {}, { exec: { ...exec, apiVersion: 'client.authentication.k8s.io/v1alpha1' } }, 'exec.apiVersion'],
  ['wrong type', {}, { token: 7 }, 'users[0].user.token'],
  ['wrong server', { server: 'ftp://a' }, {}, 'clusters[0].cluster.server'],
])('refused: %s', (_what, cluster, user, message) => {
  expect(() => resolved(cluster, user)).toThrow(message)
  expect(() => resolved(cluster, user)).toThrow(KubeconfigError)
})

test('what an exec plugin is told', () => {
  const extensions = [{ name: 'client.authentication.k8s.io/exec', extension: { audience: 'a' } }]
  const cluster = { 'certificate-authority-data': B64, extensions }
  const { exec: plugin } = resolved(cluster, { exec: { ...exec, provideClusterInfo: true } })
  expect(plugin && JSON.parse(execInfo(plugin))).toEqual({
    apiVersion: 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      cluster: { server: 'https://10.0.0.1:6443/', 'certificate-authority-data': B64, config: { audience: 'a' } },
    },
  })
})

test('files', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kubeconfig-'))
  try {
    const path = join(folder, 'config')
    writeFileSync(path, config({ 'certificate-authority': 'ca.crt' }))
    expect(await loadKubeconfig(path)).toEqual({ ...base, ca: { file: join(folder, 'ca.crt') } })
    await expect(loadKubeconfig(join(folder, 'none'))).rejects.toThrow(KubeconfigError)
    expect(() => parseKubeconfig('a: [', path)).toThrow(`${path}: not YAML`)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
