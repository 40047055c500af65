// Which certificate a kubelet shows, and whose clients it believes, by its configuration.
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { X509Certificate } from 'node:crypto'
import { readFileSync, renameSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { connect as connectPlain, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { folder, open, useFixture } from '../fixture.ts'
import { makeAuthorities } from './certificates.ts'
import type { Authority, Pair } from './certificates.ts'

useFixture()
const authorities = makeAuthorities()
let ca: Authority
let pairs: [Pair, Pair]
let client: Pair
beforeAll(() => {
  ca = authorities.make('ca')
  pairs = [ca.sign('/CN=first'), ca.sign('/CN=second')]
  client = ca.sign('/O=system:masters/CN=kube-apiserver-kubelet-client')
})
afterAll(() => authorities[Symbol.dispose]())

const server = { address: '127.0.0.1', port: 0 }

async function look(port: number | undefined, shown?: Pair): Promise<{ subject: string; status: number | undefined }> {
  const own = shown && { cert: shown.cert, key: shown.key }
  const outgoing = request({ host: '127.0.0.1', port, path: '/pods', rejectUnauthorized: false, agent: false, ...own })
  outgoing.end()
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
  const subject = (response.socket as TLSSocket).getPeerCertificate().subject.CN
  response.resume()
  return { subject: String(subject), status: response.statusCode }
}

function put(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(`${path}.new`, text)
  renameSync(`${path}.new`, path)
  return path
}

test('without any it signs one itself, for the names of the node, and keeps it', async () => {
  const first = await look((await open({ server })).port)
  expect(first).toMatchObject({ subject: expect.stringMatching(/^node-1@\d+$/), status: 401 })
  const [crt, key] = ['kubelet.crt', 'kubelet.key'].map((name) => join(folder, 'root/pki', name)) as [string, string]
  expect(statSync(key).mode & 0o777).toBe(0o600)
  expect(new X509Certificate(readFileSync(crt)).subjectAltName).toBe('DNS:node-1, IP Address:192.0.2.1')
  expect(await look((await open({ server })).port)).toEqual(first)
  truncateSync(crt, 100) // as a crash could leave it
  expect((await look((await open({ server })).port)).status).toBe(401)
  expect(new X509Certificate(readFileSync(crt)).checkHost('node-1')).toBe('node-1')
})

test('closing waits for no client, not for one that has only just connected either', async () => {
  const kubelet = await open({ server })
  const idle = connectPlain(kubelet.port ?? 0, '127.0.0.1')
  await look(kubelet.port) // which is accepted after it
  const ended = once(idle, 'close')
  idle.resume()
  await kubelet.close()
  await ended
})

test('files of the configuration are shown, and followed; clients of their authority are believed', async () => {
  const [first, second] = pairs
  const configuration = {
    tlsCertFile: put('tls.crt', first.cert),
    tlsPrivateKeyFile: put('tls.key', first.key),
    authentication: { x509: { clientCAFile: put('ca.crt', ca.cert) } },
  }
  const { port } = await open({ server, configuration })
  expect(await look(port)).toEqual({ subject: 'first', status: 401 })
  expect(await look(port, client)).toEqual({ subject: 'first', status: 200 })
  put('tls.crt', second.cert)
  await new Promise((resolve) => setTimeout(resolve, 500)) // time enough to take a pair that does not fit
  expect(await look(port, client)).toEqual({ subject: 'first', status: 200 })
  put('tls.key', second.key)
  await expect.poll(async () => look(port, client)).toEqual({ subject: 'second', status: 200 })
  put('ca.crt', authorities.make('another').cert)
  await expect.poll(async () => (await look(port, client)).status).toBe(401)
})

test('a key of another certificate is refused, with both files named', async () => {
  const configuration = { tlsCertFile: put('a.crt', pairs[0].cert), tlsPrivateKeyFile: put('b.key', pairs[1].key) }
  await expect(open({ server, configuration })).rejects.toThrow(
    `tlsPrivateKeyFile ${folder}/b.key: is not the key of tlsCertFile ${folder}/a.crt`,
  )
})

test('cipher suites of TLS 1.2 are those of the configuration, by their names in Go', async () => {
  const one = 'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384'
  const { port } = await open({ server, configuration: { tlsCipherSuites: [one, 'TLS_AES_128_GCM_SHA256'] } })
  const shake = async (more: object): Promise<string> => {
    const socket = connect({ host: '127.0.0.1', port: port ?? 0, rejectUnauthorized: false, ...more })
    try {
      await once(socket, 'secureConnect')
      return socket.getCipher().standardName
    } finally {
      socket.destroy()
    }
  }
  expect(await shake({ maxVersion: 'TLSv1.2' })).toBe(one)
  await expect(shake({ maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' })).rejects.toThrow()
  expect(await shake({})).toMatch(/^TLS_(AES|CHACHA20)/)
  const wrong = open({ server, configuration: { tlsCipherSuites: ['TLS_NONE'] } })
  await expect(wrong).rejects.toThrow('tlsCipherSuites "TLS_NONE": is not a cipher suite that is known here')
})

test('what is no URL is refused, whoever asks, and the server goes on', async () => {
  const kubelet = await open({ server })
  const say = async (lines: string[]): Promise<string> => {
    const socket = connect({ host: '127.0.0.1', port: kubelet.port ?? 0, rejectUnauthorized: false })
    socket.end(`${lines.join('\r\n')}\r\n\r\n`)
    return (await socket.setEncoding('utf8').toArray()).join('')
  }
  const head = ['GET // HTTP/1.1', 'Host: kubelet', 'Connection: close']
  expect(await say(head)).toMatch(/^HTTP\/1\.1 4\d\d /)
  const upgrade = ['GET // HTTP/1.1', 'Host: kubelet', 'Connection: Upgrade', 'Upgrade: websocket']
  expect(await say(upgrade)).toMatch(/^HTTP\/1\.1 4\d\d /)
  expect((await look(kubelet.port)).status).toBe(401)
})

test('readOnlyPort: pods without a certificate, until the kubelet ends', async () => {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  const kubelet = await open({ server, configuration: { readOnlyPort: port } })
  const answer = await fetch(`http://127.0.0.1:${port}/pods`)
  expect(await answer.json()).toMatchObject({ kind: 'PodList', items: [] })
  expect(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()).toContain('server_type="readonly"')
  await kubelet.close()
  await expect(fetch(`http://127.0.0.1:${port}/pods`)).rejects.toThrow()
})
