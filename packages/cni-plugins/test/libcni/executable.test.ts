import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { executablePlugin } from '../../src/libcni/executable.ts'
import { parseVersionReply, versionsOfError } from '../../src/libcni/version-reply.ts'
import type { Host, PluginRequest } from '../../src/types.ts'

let folder: string
let warned: object[]
let host: Host
const signal = AbortSignal.timeout(30_000)

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nodelet-executable-'))
  warned = []
  host = {
    addressDir: folder,
    log: { warn: (fields, message) => warned.push({ ...fields, message }) },
    changeRules: () => undefined,
    settleRules: async () => undefined,
    plugin: (type) => executablePlugin(type, [folder]),
  }
})
afterEach(() => rmSync(folder, { recursive: true }))

const write = (body: string): void => writeFileSync(join(folder, 'x'), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
const seen = (name: string): string => readFileSync(join(folder, name), 'utf8')
const request = (cniVersion = '1.0.0', more: Partial<PluginRequest> = {}): PluginRequest => ({
  network: { containerId: 'c', netns: '/n', ifName: 'eth0', args: { IgnoreUnknown: '1', IP: '10.0.0.9' } },
  config: { type: 'x', name: 'net', cniVersion },
  ...more,
})
const plugin = (): ReturnType<typeof executablePlugin> => executablePlugin('x', ['/nowhere', folder])

test.each([
  ['prints garbage', 'echo nonsense', 6, 'plugin "x" succeeded but its result "nonsense\\n" is not JSON'],
  ['prints nothing', 'exit 0', 6, 'plugin "x" succeeded but its result "" is not JSON'],
  ['prints a list', 'echo []', 6, 'result of plugin "x": Invalid input'],
  ['prints half of a result', `echo '{"ips":[{}]}'`, 6, 'result of plugin "x": ips.0.address'],
  ['dies by a signal', 'kill -9 $$', 999, 'plugin "x": netplugin failed with no error message: signal: SIGKILL'],
  ['complains on stderr', 'echo oops >&2; exit 3', 999, 'plugin "x": netplugin failed: "oops": exit status 3'],
  ['fails in silence', 'exit 3', 999, 'plugin "x": netplugin failed with no error message: exit status 3'],
  ['fails with garbage', 'echo no; exit 2', 6, 'error parsing its diagnostic message "no\\n": exit status 2'],
  [
    'fails with an error',
    `echo '{"cniVersion":"1.0.0","code":107,"msg":"no","details":"because"}'; exit 1`,
    107,
    'plugin "x": no: because',
  ],
  ['floods', 'exec cat /dev/zero', 6, 'plugin "x" said more than 4194304 bytes and was killed'],
])('a program that %s is told apart', async (_, body, code, message) => {
  write(body)
  await expect(plugin().add(request(), host, signal)).rejects.toMatchObject({
    code,
    message: expect.stringContaining(message) as string,
  })
})

test('a program that hangs is killed, with what it started', async () => {
  write('sleep 60 & exec sleep 60')
  await expect(plugin().check(request(), host, AbortSignal.timeout(100))).rejects.toMatchObject({
    code: 11,
    message: 'plugin "x" gave no answer to CHECK in time and was killed',
  })
})

test('a program that cannot be run is named', async () => {
  await expect(plugin().add(request(), host, signal)).rejects.toThrow(
    `failed to find plugin "x" in path [/nowhere ${folder}]`,
  )
  writeFileSync(join(folder, 'x'), '')
  await expect(plugin().add(request(), host, signal)).rejects.toThrow(`plugin "x": cannot run ${folder}/x: EACCES`)
})

test('one that is still being written is tried again', async () => {
  writeFileSync(join(folder, 'x'), readFileSync('/bin/true'), { mode: 0o755 })
  const fd = openSync(join(folder, 'x'), 'r+')
  setTimeout(() => closeSync(fd), 300)
  await plugin().del(request(), host, signal)
})

test('what it says on stderr while it succeeds goes to the log', async () => {
  write('echo hello >&2')
  await plugin().del(request(), host, signal)
  expect(warned).toEqual([{ plugin: 'x', command: 'DEL', message: 'hello' }])
})

test('every variable is set, also those that do not apply', async () => {
  write(`env | grep ^CNI_ | sort > ${folder}/$CNI_COMMAND; cat > ${folder}/$CNI_COMMAND.json`)
  process.env['CNI_IFNAME'] = 'mine'
  try {
    await plugin().del(request(), host, signal)
    await plugin().gc(request('1.1.0').config, [{ containerId: 'c', ifName: 'eth0' }], host, signal)
  } finally {
    delete process.env['CNI_IFNAME']
  }
  const path = `CNI_PATH=/nowhere:${folder}`
  expect(seen('DEL').trim().split('\n')).toEqual([
    'CNI_ARGS=IgnoreUnknown=1;IP=10.0.0.9',
    'CNI_COMMAND=DEL',
    'CNI_CONTAINERID=c',
    'CNI_IFNAME=eth0',
    'CNI_NETNS=/n',
    path,
  ])
  expect(seen('GC').trim().split('\n')).toEqual([
    'CNI_ARGS=',
    'CNI_COMMAND=GC',
    'CNI_CONTAINERID=',
    'CNI_IFNAME=',
    'CNI_NETNS=',
    path,
  ])
  const attachments = [{ containerID: 'c', ifname: 'eth0' }]
  expect(JSON.parse(seen('GC.json'))).toEqual({
    type: 'x',
    name: 'net',
    cniVersion: '1.1.0',
    'cni.dev/valid-attachments': attachments,
    'cni.dev/attachments': attachments,
  })
})

test('GC and STATUS are for networks of 1.1.0', async () => {
  write(`touch ${folder}/$CNI_COMMAND`)
  await plugin().gc(request('1.0.0').config, [], host, signal)
  await plugin().status(request('1.0.0').config, host, signal)
  expect(existsSync(join(folder, 'GC')) || existsSync(join(folder, 'STATUS'))).toBe(false)
  await plugin().gc(request('1.1.0').config, [], host, signal)
  await plugin().status(request('1.1.0').config, host, signal)
  expect(existsSync(join(folder, 'GC')) && existsSync(join(folder, 'STATUS'))).toBe(true)
})

test('prevResult is in the version of the network, and goes to DEL from 0.4.0 on', async () => {
  write(`cat > ${folder}/$CNI_COMMAND.json`)
  const prevResult = {
    cniVersion: '1.1.0',
    interfaces: [{ name: 'eth0', mtu: 9000, sandbox: '/n' }],
    ips: [{ address: '10.0.0.2/24', interface: 0 }],
    routes: [],
    dns: {},
  }
  await plugin().del(request('0.4.0', { prevResult }), host, signal)
  expect(JSON.parse(seen('DEL.json'))).toMatchObject({
    prevResult: {
      cniVersion: '0.4.0',
      interfaces: [{ name: 'eth0', sandbox: '/n' }],
      ips: [{ version: '4', address: '10.0.0.2/24', interface: 0 }],
    },
  })
  await plugin().del(request('0.3.1', { prevResult }), host, signal)
  expect(JSON.parse(seen('DEL.json'))).not.toHaveProperty('prevResult')
})

test('a result of another version is understood', async () => {
  write(`echo '{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24","routes":[{"dst":"0.0.0.0/0"}]}}'`)
  expect(await plugin().add(request('0.4.0'), host, signal)).toMatchObject({
    ips: [{ address: '10.0.0.2/24' }],
    routes: [{ dst: '0.0.0.0/0' }],
  })
})

test('versions are asked once for each state of the file', async () => {
  const reply = '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'
  write(`echo $CNI_NETNS $CNI_IFNAME $CNI_PATH >> ${folder}/asked; cat >> ${folder}/asked; echo '${reply}'`)
  const one = plugin()
  expect(await one.versions(host, signal)).toEqual(['0.4.0', '1.0.0'])
  expect(await one.versions(host, signal)).toEqual(['0.4.0', '1.0.0'])
  expect(seen('asked')).toBe('dummy dummy dummy\n{"cniVersion":"1.1.0"}')
  write(`echo '{"cniVersion":"0.2.0"}' # newer`)
  expect(await one.versions(host, signal)).toEqual(['0.1.0', '0.2.0'])
})

test('one that does not say its versions is told of and used all the same', async () => {
  write('echo hello')
  const one = plugin()
  expect(await one.versions(host, signal)).toBeUndefined()
  expect(await one.versions(host, signal)).toBeUndefined()
  expect(warned).toEqual([
    expect.objectContaining({ plugin: 'x', message: 'a CNI plugin does not say which versions it speaks' }),
  ])
  write(`echo '{"code":4,"msg":"unknown CNI_COMMAND: VERSION"}'; exit 1`)
  expect(await one.versions(host, signal)).toEqual(['0.1.0'])
})

test('replies to VERSION', () => {
  expect(parseVersionReply('{"cniVersion":"0.2.0"}')).toEqual(['0.1.0', '0.2.0'])
  expect(() => parseVersionReply('{"cniVersion":"1.0.0"}')).toThrow('supportedVersions: missing')
  expect(versionsOfError('plugin "x": unknown CNI_COMMAND: VERSION')).toEqual(['0.1.0'])
  expect(versionsOfError('anything else')).toBeUndefined()
})
