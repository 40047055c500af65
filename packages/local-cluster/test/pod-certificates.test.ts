// PodCertificateRequests: what is taken, what a signer may make of it, and when it goes.
import 'reflect-metadata'
import { constants, generateKeyPairSync, type KeyObject, sign, webcrypto } from 'node:crypto'
import { createKubeClient, podCertificateRequests, startInformer } from '@nodelet/kube-client'
import type { PodCertificateRequest } from '@nodelet/kube-client'
import * as x509 from '@peculiar/x509'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { startPodCertificateCleaner } from '../src/controllers/pod-certificates.ts'
import {
  podCertificateChangeProblems,
  podCertificateProblems,
  podCertificateSourceProblems,
} from '../src/kinds/pod-certificates.ts'
import type { ApiObject, Fields } from '../src/object.ts'
import { startApi, type TestApi } from './api.ts'

x509.cryptoProvider.set(webcrypto as unknown as Crypto)
const ecdsa = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const rsa = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', publicExponent: new Uint8Array([1, 0, 1]) }
const algorithms: Record<string, { name: string }> = {
  RSA3072: { ...rsa, modulusLength: 3072 } as { name: string },
  RSA4096: { ...rsa, modulusLength: 4096 } as { name: string },
  ECDSAP256: ecdsa,
  ECDSAP384: { ...ecdsa, namedCurve: 'P-384', hash: 'SHA-384' } as { name: string },
  ECDSAP521: { ...ecdsa, namedCurve: 'P-521', hash: 'SHA-512' } as { name: string },
  ED25519: { name: 'Ed25519' },
}

/** A request, made by the library. */
async function requestOf(algorithm: { name: string }): Promise<Buffer> {
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as never
  const made = await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: algorithm as never })
  return Buffer.from(made.rawData)
}

const podUID = '6f0c2a4e-0000-4000-8000-000000000001'
const spec = {
  signerName: 'example.com/pods',
  podName: 'web',
  podUID,
  serviceAccountName: 'default',
  serviceAccountUID: 'account-uid',
  nodeName: 'n1',
  nodeUID: 'node-uid',
  maxExpirationSeconds: 86_400,
}
const textsOf = (problems: { field: string; message: string }[]): string[] =>
  problems.map(({ field, message }) => `${field}: ${message}`)
const problemsOf = (more: Fields): string[] => textsOf(podCertificateProblems({ ...spec, ...more }))

let stub: string
let api: TestApi
beforeAll(async () => {
  stub = (await requestOf(ecdsa)).toString('base64')
  api = await startApi()
})
afterAll(async () => api?.[Symbol.asyncDispose]())

test.each(Object.entries(algorithms))('a request with a key of %s', async (_, algorithm) => {
  const der = await requestOf(algorithm)
  expect(problemsOf({ stubPKCS10Request: der.toString('base64') })).toEqual([])
})

test('any changed bit of a request is found, and any missing byte', async () => {
  const der = await requestOf({ name: 'Ed25519' })
  const refused = [expect.stringContaining('spec.stubPKCS10Request: Invalid value')]
  for (let at = 0; at < der.length; at += 1) {
    expect(problemsOf({ stubPKCS10Request: der.subarray(0, at || 1).toString('base64') }), `only ${at}`).toEqual(
      refused,
    )
    for (let bit = 1; bit < 256; bit *= 2) {
      const other = Buffer.from(der)
      other[at] = (other[at] ?? 0) ^ bit
      expect(problemsOf({ stubPKCS10Request: other.toString('base64') }), `byte ${at}`).toEqual(refused)
    }
  }
})

const pairs: [string, () => { publicKey: KeyObject; privateKey: KeyObject }, hash?: string][] = [
  ['RSA3072', () => generateKeyPairSync('rsa', { modulusLength: 3072 }), 'sha256'],
  ['ECDSAP384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'sha256'],
  ['ED25519', () => generateKeyPairSync('ed25519')],
]
test.each(pairs)('key and proof apart, as of 1.35: %s', (_, make, hash) => {
  const { publicKey, privateKey } = make()
  const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO }
  const proofOf = (uid: string): string =>
    sign(hash, Buffer.from(uid), {
      key: privateKey,
      ...(privateKey.asymmetricKeyType === 'rsa' && padding),
    }).toString('base64')
  const pkixPublicKey = publicKey.export({ type: 'spki', format: 'der' }).toString('base64')
  expect(problemsOf({ pkixPublicKey, proofOfPossession: proofOf(podUID) })).toEqual([])
  expect(problemsOf({ pkixPublicKey, proofOfPossession: proofOf('another') })).toEqual([
    'spec.proofOfPossession: Invalid value: "<value omitted>": could not verify proof-of-possession signature',
  ])
})

const weak = generateKeyPairSync('rsa', { modulusLength: 2048 })
const strange = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
const spki = (key: KeyObject): string => key.export({ type: 'spki', format: 'der' }).toString('base64')
const either = 'exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set'

test.each<[what: string, Fields, string]>([
  ['no key', {}, `spec: Invalid value: "<value omitted>": ${either}`],
  ['a key without proof', { pkixPublicKey: 'AAAA' }, either],
  ['no key at all', { pkixPublicKey: 'AAAA', proofOfPossession: 'AAAA' }, 'spec.pkixPublicKey: Invalid value'],
  [
    'a short key',
    { pkixPublicKey: spki(weak.publicKey), proofOfPossession: 'AAAA' },
    '"2048-bit modulus": RSA keys must',
  ],
  ['another curve', { pkixPublicKey: spki(strange.publicKey), proofOfPossession: 'AAAA' }, 'must use curve P256, P384'],
  [
    'a large request',
    { stubPKCS10Request: 'A'.repeat(20_000) },
    'spec.stubPKCS10Request: Too long: may not be more than 10240',
  ],
  ['nothing of a request', { stubPKCS10Request: 'MAA=' }, 'must be a valid PKCS#10 request: not PKCS#10'],
])('%s is refused', (_, more, text) => {
  expect(problemsOf(more)).toEqual([expect.stringContaining(text)])
})

test.each<[what: string, Fields, string]>([
  ['no signer', { signerName: '' }, 'spec.signerName: Required value'],
  ['a signer without domain', { signerName: 'pods' }, 'must be a fully qualified domain and path'],
  ['a pod that cannot be', { podName: 'Web' }, 'spec.podName: Invalid value: "Web"'],
  ['no UID', { nodeUID: '' }, 'spec.nodeUID: Invalid value: "": must not be empty'],
  ['a long UID', { podUID: 'x'.repeat(129) }, 'spec.podUID: Too long: may not be more than 128 bytes'],
  ['too short', { maxExpirationSeconds: 3599 }, 'must be in the range [3600, 7862400]'],
  ['too long', { maxExpirationSeconds: 7_862_401 }, 'must be in the range [3600, 7862400]'],
  ['too long for Kubernetes', { signerName: 'kubernetes.io/x', maxExpirationSeconds: 86_401 }, '[3600, 86400]'],
  ['an annotation of nobody', { unverifiedUserAnnotations: { who: 'me' } }, 'must be a domain-prefixed key'],
])('%s is refused', (_, more, text) => {
  expect(problemsOf({ stubPKCS10Request: stub, ...more })).toEqual([expect.stringContaining(text)])
})

test.each<[Fields, string]>([
  [{ signerName: '' }, 'v.signerName: Required value'],
  [{ keyType: 'RSA2048' }, 'v.keyType: Unsupported value: "RSA2048": supported values: "RSA3072", "RSA4096"'],
  [
    { maxExpirationSeconds: 1 },
    'v.maxExpirationSeconds: Invalid value: 1: if provided, maxExpirationSeconds must be >= 3600',
  ],
  [{ keyPath: '' }, 'v: Required value: specify at least one of credentialBundlePath'],
])('of a volume, %j is refused', (wrong, text) => {
  const good = { signerName: 'example.com/pods', keyType: 'ED25519', keyPath: 'key' }
  expect(podCertificateSourceProblems(good, 'v')).toEqual([])
  expect(textsOf(podCertificateSourceProblems({ ...good, ...wrong }, 'v'))).toEqual([expect.stringContaining(text)])
})

const nowMs = Date.parse('2026-01-01T00:00:00Z')
const at = (minutes: number): Date => new Date(nowMs + minutes * 60_000)

interface Issued {
  status: Fields
  request: ApiObject
}

/** A request, and what a signer that does all well makes of it. */
async function issued({ days = 0.5, begin = 0 }: { days?: number; begin?: number } = {}): Promise<Issued> {
  const keys = await webcrypto.subtle.generateKey(ecdsa, true, ['sign', 'verify'])
  const made = await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: ecdsa })
  const leaf = await x509.X509CertificateGenerator.createSelfSigned({
    keys,
    signingAlgorithm: ecdsa,
    notBefore: at(begin),
    notAfter: at(begin + days * 1440),
  })
  const request = { ...spec, stubPKCS10Request: Buffer.from(made.rawData).toString('base64') }
  return {
    request: { apiVersion: 'v', kind: 'k', metadata: { name: 'r' }, spec: request, status: {} },
    status: {
      conditions: [condition('Issued')],
      certificateChain: `${leaf.toString('pem')}\n`,
      notBefore: at(begin).toISOString(),
      beginRefreshAt: at(begin + days * 720).toISOString(),
      notAfter: at(begin + days * 1440).toISOString(),
    },
  }
}
const condition = (type: string, more: Fields = {}): Fields => ({
  type,
  status: 'True',
  reason: 'Because',
  message: '',
  lastTransitionTime: '2026-01-01T00:00:00Z',
  ...more,
})
const changed = (request: ApiObject, status: Fields): string[] =>
  textsOf(podCertificateChangeProblems(request, { ...request, status }, nowMs))

test.each<[what: string, (good: Fields) => Fields, string?]>([
  ['is taken', (good) => good],
  ['denied', () => ({ conditions: [condition('Denied')] })],
  ['failed', () => ({ conditions: [condition('Failed')] })],
  ['undecided', () => ({ notAfter: at(1).toISOString() }), 'status is immutable unless transitioning to "Issued"'],
  [
    'denied, with more',
    (good) => ({ ...good, conditions: [condition('Denied')] }),
    'non-condition status fields must be',
  ],
  [
    'of another kind',
    () => ({ conditions: [condition('Ready')] }),
    'status.conditions[0].type: Unsupported value: "Ready"',
  ],
  ['both', () => ({ conditions: [condition('Denied'), condition('Failed')] }), 'There may be at most one condition'],
  ['not true', () => ({ conditions: [condition('Denied', { status: 'False' })] }), 'supported values: "True"'],
  ['for no reason', () => ({ conditions: [condition('Denied', { reason: '' })] }), 'conditions[0].reason: Required'],
  ['nothing', (good) => ({ ...good, certificateChain: '' }), 'must contain at least one certificate'],
  [
    'no certificate',
    (good) => ({ ...good, certificateChain: String(good.certificateChain).replaceAll('CERTIFICATE', 'PRIVATE KEY') }),
    'must consist entirely of CERTIFICATE PEM blocks',
  ],
  [
    'torn',
    (good) => ({ ...good, certificateChain: '-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----' }),
    'leaf certificate does not parse as valid X.509',
  ],
  ['no time', ({ beginRefreshAt: _, ...rest }) => rest, 'status.beginRefreshAt: Required value: must be present'],
  [
    'another begin',
    (good) => ({ ...good, notBefore: at(1).toISOString() }),
    'must be set to the NotBefore time encoded',
  ],
  ['another end', (good) => ({ ...good, notAfter: at(1).toISOString() }), 'must be set to the NotAfter time encoded'],
  [
    'soon',
    (good) => ({ ...good, beginRefreshAt: at(9).toISOString() }),
    'must be at least 10 minutes after status.notBefore',
  ],
  [
    'late',
    (good) => ({ ...good, beginRefreshAt: at(715).toISOString() }),
    'must be at least 10 minutes before status.notAfter',
  ],
])('a certificate %s', async (_, make, text) => {
  const { request, status } = await issued()
  expect(changed(request, make(status))).toEqual(text === undefined ? [] : [expect.stringContaining(text)])
})

test('a certificate of another key, or one that lasts too short, too long or begins at another time, is refused', async () => {
  const [{ request, status }, { status: other }] = [await issued(), await issued()]
  expect(changed(request, other)).toEqual([expect.stringContaining('was not issued to the requested public key')])
  const refused = async (made: Promise<Issued>): Promise<string[]> =>
    made.then((one) => changed(one.request, one.status))
  expect(await refused(issued({ days: 2 }))).toEqual([
    expect.stringContaining('must be <= spec.maxExpirationSeconds (86400)'),
  ])
  expect(await refused(issued({ days: 0.04 }))).toEqual([expect.stringContaining('lifetime must be >= 1 hour')])
  expect(await refused(issued({ begin: -6 }))).toEqual([
    expect.stringContaining("within 5 minutes of kube-apiserver's"),
  ])
  const done = { ...request, status }
  expect(changed(done, { conditions: [condition('Denied')] })).toEqual([expect.stringContaining('immutable after')])
  const asked = { ...request, spec: { ...spec, podName: 'other' } }
  expect(textsOf(podCertificateChangeProblems(request, asked, nowMs))).toEqual([
    expect.stringContaining('spec: Invalid value: {'),
  ])
})

const path = '/apis/certificates.k8s.io/v1beta1/namespaces/default/podcertificaterequests'
const body = (more: Fields = {}): string =>
  JSON.stringify({
    apiVersion: 'certificates.k8s.io/v1beta1',
    kind: 'PodCertificateRequest',
    metadata: { generateName: 'req-' },
    spec: { ...spec, maxExpirationSeconds: undefined, stubPKCS10Request: stub },
    ...more,
  })
const json = { 'content-type': 'application/json' }

test('the server has them: found by node, decided by their status, beside the group that was there', async () => {
  const { text, status } = await api.call({
    method: 'POST',
    path,
    headers: json,
    body: body({ status: { certificateChain: 'mine' } }),
  })
  expect(status).toBe(201)
  const made = JSON.parse(text) as PodCertificateRequest
  expect(made).toMatchObject({ spec: { ...spec, stubPKCS10Request: stub }, status: {} })
  expect(made.status).toEqual({})
  const found = async (node: string): Promise<number> => {
    const query = `?fieldSelector=${encodeURIComponent(`spec.nodeName=${node}`)}`
    const { text: list } = await api.call({
      method: 'GET',
      path: `/apis/certificates.k8s.io/v1beta1/podcertificaterequests${query}`,
    })
    return (JSON.parse(list) as { items: unknown[] }).items.length
  }
  expect([await found('n1'), await found('n2')]).toEqual([1, 0])
  const own = `${path}/${made.metadata?.name}`
  const deny = { ...made, status: { conditions: [condition('Denied')] } }
  const decided = await api.call({ method: 'PUT', path: `${own}/status`, headers: json, body: JSON.stringify(deny) })
  expect([decided.status, JSON.parse(decided.text)]).toMatchObject([200, { status: deny.status }])
  const { text: versions } = await api.call({ method: 'GET', path: '/apis/certificates.k8s.io' })
  expect(JSON.parse(versions)).toMatchObject({
    versions: [{ version: 'v1' }, { version: 'v1beta1' }],
    preferredVersion: { version: 'v1' },
  })
  const { text: names } = await api.call({ method: 'GET', path: '/apis/certificates.k8s.io/v1beta1' })
  expect((JSON.parse(names) as { resources: { name: string }[] }).resources.map(({ name }) => name)).toEqual([
    'podcertificaterequests',
    'podcertificaterequests/status',
  ])
})

test('they go when they are old', async () => {
  const { ca, cert, key } = api.admin
  await using client = createKubeClient({
    server: `https://127.0.0.1:${api.port}`,
    ca: { pem: ca },
    clientCertificate: { pem: cert },
    clientKey: { pem: key },
  })
  await api.call({ method: 'POST', path, headers: json, body: body() })
  await using cache = startInformer(client, podCertificateRequests)
  await cache.synced
  expect(cache.list().length).toBeGreaterThan(0)
  await using _ = startPodCertificateCleaner({ client, caches: { podCertificateRequests: cache }, log: undefined }, 0)
  await vi.waitFor(() => expect(cache.list()).toEqual([]), { timeout: 20_000, interval: 10 })
})
