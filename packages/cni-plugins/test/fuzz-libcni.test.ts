// Whatever lists, results, records and answers say, they are understood, or refused by an error that names them.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseMessage } from '../src/custom/messages.ts'
import { parseAttachment } from '../src/libcni/attachment-record.ts'
import { requestOf } from '../src/libcni/call.ts'
import { parseCachedResult } from '../src/libcni/cached-result.ts'
import { parseArgs, printArgs } from '../src/libcni/cni-args.ts'
import { parseListFile, parseNetworkList, withPlugins } from '../src/libcni/conflist.ts'
import { parseResult } from '../src/libcni/parse-result.ts'
import { toVersion } from '../src/libcni/print-result.ts'
import { failure } from '../src/libcni/program.ts'
import { parseVersionReply } from '../src/libcni/version-reply.ts'
import { cniVersions } from '../src/libcni/versions.ts'
import { anyText, anyValue, isRobust, jsonOf, mutated } from './fuzz.ts'

const plugin = { type: 'bridge', capabilities: { portMappings: true }, ipam: { type: 'host-local' } }
const list = { name: 'n', cniVersion: '1.0.0', cniVersions: ['0.4.0'], disableCheck: 'TRUE', plugins: [plugin] }
const result = {
  cniVersion: '1.1.0',
  interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', mtu: 1500, sandbox: '/n' }],
  ips: [{ address: '10.0.0.2/24', gateway: '10.0.0.1', interface: 0 }, { address: 'fd00::2/64' }],
  routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1', mtu: 1400, table: 7, scope: 0 }],
  dns: { nameservers: ['10.0.0.3'], domain: 'x', search: ['y'], options: ['z'] },
}
const oldResult = { cniVersion: '0.2.0', ip4: { ip: '10.0.0.2/24', gateway: '10.0.0.1', routes: [{ dst: '::/0' }] } }
const network = {
  containerId: 'c',
  ifName: 'eth0',
  netns: '/n',
  pod: { namespace: 'd', name: 'p', uid: 'u' },
  portMappings: [{ hostPort: 1, containerPort: 2, protocol: 'tcp', hostIP: '10.0.0.1' }],
  capabilityArgs: { mac: 'x' },
  args: { IP: '10.0.0.2' },
}
const attachment = { network, list: { ...parseNetworkList(jsonOf(list), '/l') }, result }
const cached = {
  kind: 'cniCacheV1',
  containerId: 'c',
  ifName: 'eth0',
  config: Buffer.from(jsonOf(list)).toString('base64'),
  networkName: 'n',
  netns: '/n',
  cniArgs: [['a', 'b']],
  capabilityArgs: { mac: 'x' },
  result,
}
const texts = (good: object): fc.Arbitrary<string> => fc.oneof(anyText, mutated(good).map(jsonOf), cutOff(jsonOf(good)))
const cutOff = (text: string): fc.Arbitrary<string> => fc.nat(text.length).map((length) => text.slice(0, length))

describe('a network list', () => {
  test('of one file', async () => isRobust(texts(list), (text) => parseNetworkList(text, '/f'), /^\/f: /))
  test('of one plugin', async () =>
    isRobust(texts({ ...plugin, name: 'n' }), (text) => parseListFile(text, '/f'), /^\/f: /))
  test('with plugins beside it', async () => {
    await isRobust(texts(plugin), (content) => withPlugins(attachment.list, [{ file: '/b', content }]), /^\/b: /)
  })
})

test('a result, and what is printed of it in any version', async () => {
  const version = fc.constantFrom(...cniVersions)
  const value = fc.oneof(anyValue, mutated(result), mutated(oldResult))
  await isRobust(
    fc.tuple(value, version, version),
    ([given, from, to]) => {
      const parsed = parseResult('plugin "x"', given, from)
      expect(parsed.ips.every(({ address }) => /^[\da-f.:]+\/\d+$/i.test(address))).toBe(true)
      toVersion(parsed, to)
    },
    /^(result of plugin "x": |cannot convert: no valid IP addresses)/,
  )
})

test('CNI_ARGS, which are printed as they were', async () => {
  const pairs = fc.array(fc.tuple(fc.string(), fc.string())).map((all) => all.map((pair) => pair.join('=')).join(';'))
  await isRobust(fc.oneof(anyText, pairs), (text) => parseArgs(printArgs(parseArgs(text))), /^CNI_ARGS: /)
  expect(Object.keys(parseArgs('__proto__=a;b=c'))).toEqual(['__proto__', 'b'])
})

test('the answer to VERSION', async () => {
  const good = { cniVersion: '1.0.0', supportedVersions: ['0.4.0', '1.0.0'] }
  await isRobust(texts(good), parseVersionReply, /^the answer to VERSION: /)
})

test('what a program says that failed', () => {
  const good = { code: 7, msg: 'm', details: 'd' }
  const how = fc.oneof(fc.nat(255), fc.constantFrom('SIGKILL', 'SIGSEGV'))
  fc.assert(
    fc.property(texts(good), fc.string(), how, (out, err, code) => {
      const { message, code: number } = failure('x', out, err, code)
      expect(message).toMatch(/^plugin "x": /)
      expect(Number.isInteger(number)).toBe(true)
    }),
  )
})

describe('a record', () => {
  test('of ours', async () => {
    const begun = { network, list: attachment.list }
    for (const one of [attachment, begun]) expect(parseAttachment(jsonOf(one), '/r')).toEqual(one)
    await isRobust(texts(attachment), (text) => parseAttachment(text, '/r'))
  })
  test('of libcni', async () => {
    expect(parseCachedResult(jsonOf(cached), '/r').network.args).toEqual({ a: 'b' })
    await isRobust(texts(cached), (text) => parseCachedResult(text, '/r'))
  })
})

test('what the process of a plugin says: a message or an Error', () => {
  const request = {
    network: { containerId: 'c', netns: '/n', ifName: 'eth0', args: {} },
    config: { ...plugin, ...list },
  }
  const messages = [
    { kind: 'ready', plugins: [{ name: 'x', versions: ['1.0.0'] }] },
    { kind: 'done', call: 1, stdout: '', exitCode: 0 },
    { kind: 'ask', call: 1, ask: 2, wish: { verb: 'add', type: 'x', request } },
    { kind: 'log', fields: { a: 1 }, message: 'm' },
  ]
  fc.assert(
    fc.property(fc.oneof(...messages.map(texts)), (line) => {
      try {
        expect(messages.map(({ kind }) => kind)).toContain(parseMessage(line).kind)
      } catch (error) {
        expect(['ZodError', 'SyntaxError']).toContain((error as Error).name)
      }
    }),
  )
})

test.each<[what: string, parse: () => unknown, message: string]>([
  [
    'a value that is nested too deeply to be shown',
    () => parseNetworkList(`{"name":${'['.repeat(1e5)}${']'.repeat(1e5)}}`, '/f'),
    '/f: name: ',
  ],
  [
    'the name of a file outside the folders',
    () => parseNetworkList('{"name":"n","type":"x\\u0000"}', '/f'),
    '/f: type: must be the name of a plugin',
  ],
  ['a record without a list', () => parseAttachment(jsonOf({ network }), '/r'), '/r: list: '],
  [
    'a record of a link that cannot be',
    () => parseAttachment(jsonOf({ ...attachment, network: { ...network, ifName: 'a/b' } }), '/r'),
    'invalid interface name: "a/b"',
  ],
  [
    'a record with a result that is none',
    () => parseAttachment(jsonOf({ ...attachment, result: 7 }), '/r'),
    'result of /r: ',
  ],
])('found: %s', (_, parse, message) => {
  expect(parse).toThrow(message)
})

test('a key __proto__ is neither a prototype nor what is read', () => {
  const content = '{"name":"n","plugins":[{"type":"x","__proto__":{"capabilities":{"mac":true},"polluted":1}}]}'
  const [only] = parseNetworkList(content, '/f').plugins
  expect(only?.capabilities).toBeUndefined()
  expect((only as { polluted?: unknown }).polluted).toBeUndefined()
  const request = requestOf(
    { ...attachment.list, plugins: [] },
    { type: 'x', capabilities: {} },
    {
      ...network,
      portMappings: [],
      capabilityArgs: { toString: 'x' },
    },
  )
  expect(request.config).not.toHaveProperty('runtimeConfig')
})
