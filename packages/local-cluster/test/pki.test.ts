import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { connectionOf, parseKubeconfig } from '@nodelet/kube-client'
import { writeKubeconfig } from '../src/kubeconfig.ts'
import { openPki } from '../src/pki.ts'
import type { Pki } from '../src/pki.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cluster-pki-'))
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

const open = async (nodeIPs = ['10.1.2.3', 'fd00::1']): Promise<Pki> =>
  openPki({ folder, nodeName: 'one', nodeIPs, serviceIP: '10.96.0.1', address: '127.0.0.1' })

test('strict openssl accepts the certificates for their purpose; they name whom they should', async () => {
  const pki = await open()
  const purposes = { apiserver: 'sslserver', kubelet: 'sslserver', admin: 'sslclient', 'kube-proxy': 'sslclient' }
  for (const [name, purpose] of Object.entries(purposes)) {
    const args = ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', join(folder, 'ca.crt')]
    expect(execFileSync('openssl', [...args, join(folder, `${name}.pem`)], { encoding: 'utf8' })).toContain('OK')
  }
  const server = new X509Certificate(pki.apiServer.certificate)
  for (const host of ['localhost', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local']) {
    expect(server.checkHost(host), host).toBe(host)
  }
  for (const ip of ['127.0.0.1', '10.96.0.1', '10.1.2.3', 'fd00::1']) expect(server.checkIP(ip), ip).toBe(ip)
  expect(new X509Certificate(pki.admin.certificate).subject).toBe('O=system:masters\nCN=kubernetes-admin')
  expect(new X509Certificate(pki.kubelet.certificate).subject).toBe('O=system:nodes\nCN=system:node:one')
  expect(new X509Certificate(pki.kubeletServer.certificate).checkIP('10.1.2.3')).toBe('10.1.2.3')
  expect((await stat(join(folder, 'ca.pem'))).mode & 0o777).toBe(0o600)
})

test('what is there is used again; what is for other addresses is made again by the same authority', async () => {
  const first = await open()
  expect(await open()).toEqual(first)
  const moved = await open(['10.9.9.9'])
  expect(moved).toMatchObject({ ca: first.ca, admin: first.admin, tokens: first.tokens })
  expect(moved.apiServer).not.toEqual(first.apiServer)
  expect(moved.kubeletServer).not.toEqual(first.kubeletServer)
})

test('what is damaged is made again, and nothing half written stays', async () => {
  const first = await open()
  await rm(join(folder, 'admin.pem'))
  await writeFile(join(folder, 'kube-proxy.pem'), first.proxy.key)
  const torn = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'
  await writeFile(join(folder, 'kubelet-client.pem'), first.kubelet.key + torn)
  const again = await open()
  expect(again.apiServer).toEqual(first.apiServer)
  for (const key of ['admin', 'proxy', 'kubelet'] as const) expect(again[key], key).not.toEqual(first[key])
  expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([])
})

test('a lost authority makes all certificates anew', async () => {
  const first = await open()
  await writeFile(join(folder, 'ca.pem'), 'x')
  const again = await open()
  expect(again.ca).not.toEqual(first.ca)
  expect(new X509Certificate(again.admin.certificate).verify(new X509Certificate(again.ca.certificate).publicKey)).toBe(
    true,
  )
  expect(await readFile(join(folder, 'ca.crt'), 'utf8')).toBe(again.ca.certificate)
})

test('a kubeconfig is private, and read by the client', async () => {
  const { ca, admin } = await open()
  const server = 'https://127.0.0.1:6443'
  const path = await writeKubeconfig(join(folder, 'config'), {
    server,
    ca: ca.certificate,
    user: 'admin',
    credentials: admin,
  })
  expect(connectionOf(parseKubeconfig(await readFile(path, 'utf8'), path))).toEqual({
    server,
    ca: { pem: ca.certificate },
    clientCertificate: { pem: admin.certificate },
    clientKey: { pem: admin.key },
  })
  expect((await stat(path)).mode & 0o777).toBe(0o600)
})
