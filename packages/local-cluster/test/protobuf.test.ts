import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import protobuf from 'protobufjs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { decodeProtobuf } from '../src/api/protobuf.ts'
import { startCluster } from '../src/index.ts'
import { wireTable } from './wire-table.ts'

const run = promisify(execFile)
const readJson = (path: string): unknown => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'))

/** Bodies that kubectl 1.32 sent, and the same objects as it prints them in JSON. */
const sent = readJson('fixtures/protobuf.json') as { command: string; body: string; object: object }[]

test.for(sent)('$command', ({ body, object }) => {
  expect(decodeProtobuf(Buffer.from(body, 'base64'))).toEqual(object)
})

/** A message of fields: number, and a text, a number, or another message. */
type Part = [number: number, value: string | number | Uint8Array]
function message(...parts: Part[]): Uint8Array {
  const writer = protobuf.Writer.create()
  for (const [number, value] of parts) {
    if (typeof value === 'number') writer.uint32(number * 8).int64(value)
    else if (typeof value === 'string') writer.uint32(number * 8 + 2).string(value)
    else writer.uint32(number * 8 + 2).bytes(value)
  }
  return writer.finish()
}
const envelope = (apiVersion: string, kind: string, raw: Uint8Array, ...more: Part[]): Buffer =>
  Buffer.concat([Buffer.from('k8s\0'), message([1, message([1, apiVersion], [2, kind])], [2, raw], ...more)])

describe('fields', () => {
  const container = (...parts: Part[]): Uint8Array => message([2, message([2, message([1, 'c'], ...parts)])])
  const decodedContainer = (...parts: Part[]): unknown =>
    (decodeProtobuf(envelope('v1', 'Pod', container(...parts))).spec as { containers: unknown[] }).containers[0]

  test.for<[name: string, parts: Part[], json: object]>([
    [
      'quantities',
      [[8, message([1, message([1, 'cpu'], [2, message([1, '100m'])])])]],
      { resources: { limits: { cpu: '100m' } } },
    ],
    [
      'a truth that is false, and those that are not there at zero',
      [
        [15, message([2, 0], [4, 0])],
        [16, 0],
        [18, 0],
      ],
      { securityContext: { privileged: false, runAsUser: 0 } },
    ],
    [
      'a probe with the action inside',
      [[11, message([1, message([2, message([1, '/'], [2, message([1, 1], [3, 'web'])])])], [2, 0], [3, 5])]],
      { readinessProbe: { httpGet: { path: '/', port: 'web' }, timeoutSeconds: 5 } },
    ],
    [
      'a name inside a selector',
      [[7, message([1, 'E'], [3, message([4, message([1, message([1, 's'])], [2, 'k'], [3, 0])])])]],
      { env: [{ name: 'E', valueFrom: { secretKeyRef: { name: 's', key: 'k', optional: false } } }] },
    ],
    [
      'fields of later versions',
      [
        [999, 'x'],
        [998, 7],
      ],
      {},
    ],
    [
      'a message in two parts',
      [
        [12, message([1, message([1, message([1, 'a'])])])],
        [12, message([2, message([1, message([1, 'b'])])])],
      ],
      { lifecycle: { postStart: { exec: { command: ['a'] } }, preStop: { exec: { command: ['b'] } } } },
    ],
  ])('%s', ([, parts, json]) => {
    expect(decodedContainer(...parts)).toEqual({ name: 'c', ...json })
  })

  test('numbers below zero, times, truths by pointer', () => {
    const lease = message([2, message([1, ''], [2, -1], [4, message([1, 1_700_000_000], [2, 42_000])])])
    expect(decodeProtobuf(envelope('coordination.k8s.io/v1', 'Lease', lease)).spec).toEqual({
      holderIdentity: '',
      leaseDurationSeconds: -1,
      renewTime: '2023-11-14T22:13:20.000042Z',
    })
    const wishes = decodeProtobuf(envelope('policy/v1', 'DeleteOptions', message([1, 0])))
    expect(wishes).toEqual({ apiVersion: 'policy/v1', kind: 'DeleteOptions', gracePeriodSeconds: 0 })
  })
})

test('an empty class of a claim is said, one of a volume is not; a source is the volume’s own field', () => {
  const claim = envelope('v1', 'PersistentVolumeClaim', message([2, message([1, 'ReadWriteOnce'], [5, ''])]))
  expect(decodeProtobuf(claim).spec).toEqual({ accessModes: ['ReadWriteOnce'], storageClassName: '' })
  const source = message([3, message([1, '/srv'])])
  const volume = envelope('v1', 'PersistentVolume', message([2, message([2, source], [6, ''])]))
  expect(decodeProtobuf(volume).spec).toEqual({ hostPath: { path: '/srv' } })
  const driver = envelope('storage.k8s.io/v1', 'CSIDriver', message([2, message([1, 0], [2, 0])]))
  expect(decodeProtobuf(driver).spec).toEqual({ attachRequired: false, podInfoOnMount: false })
})

describe('what is refused', () => {
  const pod = message([1, message([1, 'p'])])
  test.for<[name: string, body: Buffer, text: RegExp]>([
    ['no protobuf', Buffer.from('{"kind":"Pod"}'), /expected prefix \[107 56 115 0\]/],
    ['an unknown kind', envelope('v1', 'Potato', pod), /no kind "Potato" is registered for version "v1"/],
    ['a compressed object', envelope('v1', 'Pod', pod, [3, 'gzip']), /content encoding gzip/],
    ['half a message', envelope('v1', 'Pod', pod.subarray(0, -1)), /unexpected EOF/],
    ['text that is not UTF-8', envelope('v1', 'Pod', message([1, message([1, Buffer.from([0xff])])])), /invalid UTF-8/],
    ['a number for a message', envelope('v1', 'Pod', message([1, 5])), /wrong wireType/],
    ['a text for a number', envelope('v1', 'Pod', message([2, message([4, 'x'])])), /wrong wireType/],
    ['a group', envelope('v1', 'Pod', Buffer.from([0x0b])), /illegal wireType 3/],
    ['a number without end', envelope('v1', 'Pod', Buffer.alloc(12, 0xff)), /integer overflow/],
  ])('%s', ([, body, text]) => {
    expect(() => decodeProtobuf(body)).toThrow(text)
  })

  test('any damage is a refusal of the request, not a failure of the server', () => {
    const whole = Buffer.from(sent[0]?.body ?? '', 'base64')
    for (let at = 0; at < whole.length; at += 1) {
      for (const byte of [0x00, 0x7f, 0xff]) {
        const damaged = Buffer.from(whole)
        damaged[at] = byte
        try {
          decodeProtobuf(damaged)
        } catch (error) {
          expect(error).toHaveProperty('status.code', 400)
        }
      }
    }
  })

  test('many small values take little time', () => {
    const finalizers = message([1, Buffer.concat(Array.from({ length: 300_000 }, () => message([14, 'x'])))])
    const began = performance.now()
    decodeProtobuf(envelope('v1', 'Pod', finalizers))
    expect(performance.now() - began).toBeLessThan(15_000)
  })
})

const kubectl = ['/usr/bin/kubectl', '/usr/local/bin/kubectl'].find((path) => existsSync(path))
const minor = kubectl
  ? Number(/Client Version: v1\.(\d+)/.exec((await run(kubectl, ['version', '--client'])).stdout)?.[1] ?? 0)
  : 0

// Older ones send JSON; newer ones carry no descriptors.
test.runIf(minor >= 32 && minor <= 34)('the table is what kubectl has', () => {
  expect(wireTable(kubectl ?? '')).toEqual(readJson('../openapi/wire.json'))
})

test.runIf(kubectl)('kubectl makes objects and asks with typed requests', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'nodelet-protobuf-'))
  onTestFinished(async () => rm(dataDir, { recursive: true, force: true }))
  const { kubeconfigs, close } = await startCluster({ dataDir, port: 0, nodeName: 'n1', nodeIPs: ['127.0.0.1'] })
  onTestFinished(close)
  const ask = async (...args: string[]): Promise<string> =>
    (await run(kubectl ?? '', ['--kubeconfig', kubeconfigs.admin, ...args])).stdout
  expect(await ask('create', 'deployment', 'web', '--image=nginx', '--replicas=0', '--port=80')).toMatch(/created/)
  const spec = '{.spec.replicas} {.spec.template.spec.containers[0].ports[0]} {.spec.strategy.type}'
  expect(await ask('get', 'deployment', 'web', '-o', `jsonpath=${spec}`)).toBe(
    '0 {"containerPort":80,"protocol":"TCP"} RollingUpdate',
  )
  await ask('create', 'configmap', 'words', '--from-literal=a=b')
  expect(await ask('get', 'configmap', 'words', '-o', 'jsonpath={.data}')).toBe('{"a":"b"}')
  await ask('create', 'secret', 'generic', 'keys', '--from-literal=p=q')
  expect(await ask('get', 'secret', 'keys', '-o', 'jsonpath={.data.p} {.type}')).toBe('cQ== Opaque')
  await ask('create', 'service', 'nodeport', 'np', '--tcp=80:web', '--node-port=30080')
  expect(
    await ask('get', 'service', 'np', '-o', 'jsonpath={.spec.ports[0].nodePort} {.spec.ports[0].targetPort}'),
  ).toBe('30080 web')
  expect(await ask('auth', 'can-i', 'create', 'pods')).toBe('yes\n')
  if (minor >= 24) expect(await ask('create', 'token', 'default')).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+/)
})
