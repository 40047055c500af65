// Certificates of a node, asked of a real API server: to join, to renew, to serve.
import { createPublicKey, X509Certificate } from 'node:crypto'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  ConnectionError,
  certificateSigningRequests,
  createKubeClient,
  type KubeClient,
  loadKubeconfig,
  nodes,
  secrets,
  StatusError,
} from '@nodelet/kube-client'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { type Cluster, startCluster } from '../../local-cluster/src/index.ts'
import { bootstrapClient } from '../src/certificate/bootstrap.ts'
import { rotateAtMs, startRotation } from '../src/certificate/rotation.ts'
import {
  clientSigning,
  nodeSubject,
  requestCertificate,
  requestName,
  servingSigning,
} from '../src/certificate/signing.ts'
import { certificateStore } from '../src/certificate/store.ts'
import { exportKey, isFor, newKeys, validityOf } from '../src/certificate/x509.ts'
import { systemClock } from '../src/clock.ts'
import { silentLogger } from '../src/log.ts'

let folder: string
let cluster: Cluster
let admin: KubeClient
let bootstrapKubeconfig: string
const token = 'abcdef.0123456789abcdef'

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-cert-'))
  cluster = await startCluster({ dataDir: join(folder, 'cluster'), port: 0, nodeName: 'one', nodeIPs: ['127.0.0.1'] })
  admin = createKubeClient(await loadKubeconfig(cluster.kubeconfigs.admin))
  const [id = '', secret = ''] = token.split('.')
  const text = (value: string): string => Buffer.from(value).toString('base64')
  await admin.create(secrets, {
    metadata: { name: `bootstrap-token-${id}`, namespace: 'kube-system' },
    type: 'bootstrap.kubernetes.io/token',
    data: {
      'token-id': text(id),
      'token-secret': text(secret),
      'usage-bootstrap-authentication': text('true'),
      'auth-extra-groups': text('system:bootstrappers:kubeadm:default-node-token'),
    },
  })
  bootstrapKubeconfig = join(folder, 'bootstrap.conf')
  const authority = readFileSync(join(folder, 'cluster/pki/ca.crt')).toString('base64')
  writeFileSync(
    bootstrapKubeconfig,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'c', cluster: { server: cluster.url, 'certificate-authority-data': authority } }],
      users: [{ name: 'u', user: { token } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    }),
  )
})
afterAll(async () => {
  await admin?.close()
  await cluster?.close()
  rmSync(folder, { recursive: true, force: true })
})
let own: string
let certDir: string
let kubeconfig: string
beforeEach(({ task }) => {
  own = join(folder, task.id)
  certDir = join(own, 'pki')
  kubeconfig = join(own, 'kubelet.conf')
})

const settings = (nodeName = 'node-7') => ({ bootstrapKubeconfig, kubeconfig, certDir, nodeName })
const approve = async (name: string, type = 'Approved'): Promise<void> => {
  const request = await admin.get(certificateSigningRequests, { name })
  const conditions = [{ type, status: 'True', reason: 'ByTest', message: 'no reason' }]
  await admin.update(certificateSigningRequests, { ...request, status: { conditions } }, { subresource: 'approval' })
}
const requestsOf = async (signer: string) =>
  (await admin.list(certificateSigningRequests)).items.filter(({ spec }) => spec.signerName === signer)

it('a token that may only ask for a certificate becomes a kubeconfig of the node', async () => {
  await bootstrapClient(settings())
  const pem = join(certDir, 'kubelet-client-current.pem')
  expect(readFileSync(kubeconfig, 'utf8')).toMatch(new RegExp(`client-certificate: ${pem}\\n +client-key: ${pem}\\n`))
  expect(readFileSync(kubeconfig, 'utf8')).toContain('current-context: default-context')
  expect(statSync(kubeconfig).mode & 0o777).toBe(0o600)
  expect(readlinkSync(pem)).toMatch(/\/kubelet-client-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d\.pem$/)
  expect(readdirSync(certDir)).toHaveLength(2) // no key is left over
  const certificate = new X509Certificate(readFileSync(pem))
  expect(certificate.subject).toBe('O=system:nodes\nCN=system:node:node-7')
  const [request] = await requestsOf(clientSigning.signerName)
  expect(request?.spec).toMatchObject({
    username: 'system:bootstrap:abcdef',
    usages: ['digital signature', 'client auth'],
  })
  expect(request?.status?.conditions?.[0]).toMatchObject({ type: 'Approved', reason: 'AutoApproved' })

  await using client = createKubeClient(await loadKubeconfig(kubeconfig))
  await client.create(nodes, { metadata: { name: 'node-7' } })
  // A kubeconfig that can be used stays: nothing is asked.
  await bootstrapClient({ ...settings(), bootstrapKubeconfig: '/nowhere' })
  expect(await requestsOf(clientSigning.signerName)).toHaveLength(1)
})

it('a bad token is refused; a try that was cut short goes on with its key and its request', async () => {
  const bad = join(folder, 'bad.conf')
  writeFileSync(bad, readFileSync(bootstrapKubeconfig, 'utf8').replace(token, 'abcdef.0000000000000000'))
  await expect(bootstrapClient({ ...settings('node-8'), bootstrapKubeconfig: bad })).rejects.toThrow('Unauthorized')
  const keyFile = join(certDir, 'kubelet-client.key.tmp')
  const key = readFileSync(keyFile, 'utf8')
  expect(existsSync(kubeconfig)).toBe(false)
  await bootstrapClient(settings('node-8'))
  const pair = await certificateStore(certDir, 'kubelet-client').read()
  expect(pair?.key).toBe(key)
  expect(existsSync(keyFile)).toBe(false)
})

it('the same request again finds the one that is there; a denied one says so', async () => {
  await using client = createKubeClient(await loadKubeconfig(bootstrapKubeconfig))
  const key = await exportKey((await newKeys()).privateKey)
  const subject = nodeSubject('node-9')
  const name = requestName(key, subject, servingSigning.usages)
  expect(name).toMatch(/^node-csr-[\w-]{43}$/)
  expect(requestName(key, subject, clientSigning.usages)).not.toBe(name)
  const wish = { client, key, subject, name, ...servingSigning }
  const cut = new AbortController()
  const first = requestCertificate({ ...wish, signal: cut.signal })
  await expect.poll(async () => (await requestsOf(servingSigning.signerName)).length).toBe(1)
  cut.abort(new Error('killed'))
  await expect(first).rejects.toThrow('killed')
  const second = requestCertificate({ ...wish, signal: AbortSignal.timeout(20_000) })
  await approve(name, 'Denied')
  await expect(second).rejects.toThrow(
    `certificate signing request ${name} is denied, reason: "ByTest", message: "no reason"`,
  )
  await admin.delete(certificateSigningRequests, { name })
})

it('who serves waits for its approval, and gets what fits its names', async () => {
  const hosts = ['node-7', '192.0.2.7']
  await bootstrapClient(settings())
  await using client = createKubeClient(await loadKubeconfig(kubeconfig))
  const store = certificateStore(certDir, 'kubelet-server')
  const changed: string[] = []
  const rotation = startRotation({
    what: 'server',
    store,
    request: async (key, signal) =>
      requestCertificate({ client, key, subject: nodeSubject('node-7', hosts), ...servingSigning, signal }),
    fits: ({ certificate }) => isFor(certificate, hosts),
    changed: ({ certificate }) => void changed.push(certificate),
    clock: systemClock,
    log: silentLogger,
  })
  try {
    await expect.poll(async () => (await requestsOf(servingSigning.signerName)).length).toBe(1)
    const [request] = await requestsOf(servingSigning.signerName)
    expect(request?.metadata?.name).toMatch(/^csr-.{5}$/)
    expect(await store.read()).toBeUndefined()
    await approve(request?.metadata?.name ?? '')
    await expect.poll(() => changed.length).toBe(1)
    const certificate = new X509Certificate(changed[0] ?? '')
    expect(certificate.subjectAltName).toBe('DNS:node-7, IP Address:192.0.2.7')
    expect(certificate.keyUsage).toContain('1.3.6.1.5.5.7.3.1')
    expect(isFor(changed[0] ?? '', ['node-7'])).toBe(false)
    await expect.poll(rotation.expiresMs).toBe(Date.parse(certificate.validTo))
  } finally {
    await rotation.close()
  }
})

it('who signs something else than was asked for is not asked without a pause; to close waits for nothing', async () => {
  await bootstrapClient(settings())
  await using client = createKubeClient(await loadKubeconfig(kubeconfig))
  let [asked, failures] = [0, 0]
  const rotation = startRotation({
    what: 'client',
    store: certificateStore(certDir, 'kubelet-client'),
    async request(key, signal) {
      asked++
      return requestCertificate({ client, key, subject: nodeSubject('node-7'), ...clientSigning, signal })
    },
    fits: () => false,
    failed: () => void failures++,
    clock: systemClock,
    log: silentLogger,
  })
  await expect.poll(() => failures).toBe(1)
  await new Promise((resolve) => setTimeout(resolve, 500))
  expect([asked, failures]).toEqual([1, 1])
  await rotation.close()
  const again = startRotation({
    what: 'client',
    store: certificateStore(certDir, 'kubelet-client'),
    request: async () => Promise.reject(new Error('not asked')),
    clock: systemClock,
    log: silentLogger,
  })
  await again.close() // while it reads
})

it('a certificate is renewed with another key between 70 and 90 % of its life, and tried again when that fails', async () => {
  const life = { notBefore: 1000, notAfter: 2000 }
  expect([0, 0.5, 1].map((random) => rotateAtMs(life, random))).toEqual([1700, 1800, 1900])

  await bootstrapClient(settings())
  const store = certificateStore(certDir, 'kubelet-client')
  const first = await store.read()
  const { notBefore, notAfter } = (first && validityOf(first)) ?? { notBefore: 0, notAfter: 0 }
  await using client = createKubeClient(await loadKubeconfig(kubeconfig))
  let nowMs = Date.now()
  const timers: { ms: number; run: () => void }[] = []
  const clock = {
    now: () => nowMs,
    after: (ms: number, run: () => void) => {
      timers.push({ ms, run })
      return () => {}
    },
  }
  let failures = 0
  const rotation = startRotation({
    what: 'client',
    store,
    async request(key, signal) {
      if (failures === 0) throw new Error('not now')
      return requestCertificate({ client, key, subject: nodeSubject('node-7'), ...clientSigning, signal })
    },
    failed: () => void failures++,
    clock,
    log: silentLogger,
  })
  const tick = async (): Promise<number> => {
    await expect.poll(() => timers.length, { interval: 1, timeout: 20_000 }).toBeGreaterThan(0)
    const { ms = 0, run } = timers.shift() ?? {}
    nowMs += ms
    run?.()
    return ms
  }
  try {
    while (nowMs < notBefore + (notAfter - notBefore) * 0.7) expect(await tick()).toBeLessThanOrEqual(86_400_000)
    expect((await store.read())?.key).toBe(first?.key)
    while (failures === 0) await tick()
    expect(nowMs).toBeLessThanOrEqual(notBefore + (notAfter - notBefore) * 0.9 + 86_400_000)
    while ((await store.read())?.key === first?.key) await new Promise((resolve) => setTimeout(resolve, 10)).then(tick)
    const second = await store.read()
    expect(createPublicKey(second?.key ?? '').equals(createPublicKey(first?.key ?? ''))).toBe(false)
    expect(second && validityOf(second)?.notAfter).toBeGreaterThanOrEqual(notAfter)
  } finally {
    await rotation.close()
    for (const { run } of timers) run()
  }
})

it.each([
  ['the server refuses it', new StatusError('post', { code: 401, reason: 'Unauthorized' }), true],
  ['nobody answers', new ConnectionError('away'), false],
])('a node without a valid certificate for five minutes is lost when %s', async (_title, error, isLost) => {
  let nowMs = Date.now()
  const beganMs = nowMs
  const lost: { message: string; afterMs: number }[] = []
  const over = Promise.withResolvers<void>()
  const clock = {
    now: () => nowMs,
    after(ms: number, run: () => void) {
      nowMs += ms
      if (nowMs - beganMs > 400_000) over.resolve()
      else setImmediate(run)
      return () => {}
    },
  }
  const rotation = startRotation({
    what: 'client',
    store: certificateStore(certDir, 'kubelet-client'),
    request: async () => Promise.reject(error),
    lost: ({ message }) => void lost.push({ message, afterMs: nowMs - beganMs }),
    clock,
    log: silentLogger,
  })
  await over.promise
  await rotation.close()
  expect(lost.length > 0).toBe(isLost)
  for (const { message, afterMs } of lost) {
    expect(message).toBe(
      `no valid client certificate since ${new Date(beganMs).toISOString()}, and the server responds`,
    )
    expect(afterMs).toBeGreaterThanOrEqual(300_000)
  }
})
