// hosts.toml and certs.d folders.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ownHost } from '../src/registry/host.ts'
import { parseHostsFile } from '../src/registry/hosts-file.ts'
import { folderNames, hostsOf } from '../src/registry/hosts-folder.ts'

const all = ['pull', 'resolve', 'push', 'referrers']
const bare = { capabilities: all, ca: [], client: [], overridePath: false, headers: {} }

test('a file with everything: mirrors in their order, the server last', () => {
  const text = `
    server = "https://registry.example"
    ca = "root.pem"
    [header]
      x-one = "1"
    [host."https://b.example:5000/some/path"]
      capabilities = ["Pull", "resolve"]
      override_path = true
      skip_verify = true
      dial_timeout = "1m1.5s"
      ca = ["a.pem", "/b.pem"]
      client = [["c.cert", "c.key"], ["both.pem", ""], "other.pem"]
      [host."https://b.example:5000/some/path".header]
        x-many = ["1", "2"]
    [host."a.example"]
      client = "one.pem"
  `
  expect(parseHostsFile(text, 'f')).toEqual([
    {
      address: 'https://b.example:5000/some/path',
      capabilities: ['pull', 'resolve'],
      overridePath: true,
      skipVerify: true,
      dialTimeout: 61_500,
      ca: ['a.pem', '/b.pem'],
      client: [
        { cert: 'c.cert', key: 'c.key' },
        { cert: 'both.pem', key: 'both.pem' },
        { cert: 'other.pem', key: 'other.pem' },
      ],
      headers: { 'x-many': ['1', '2'] },
    },
    { ...bare, address: 'a.example', client: [{ cert: 'one.pem', key: 'one.pem' }] },
    { ...bare, address: 'https://registry.example', ca: ['root.pem'], headers: { 'x-one': ['1'] } },
  ])
  expect(parseHostsFile('[host."m.example"]', 'f')).toEqual([{ ...bare, address: 'm.example' }, bare])
})

test.each([
  ['a = [', 'f: not TOML: line 1, column 6: unfinished array encountered'],
  ['servr = "x"', 'f: servr: no such key'],
  ['server = 5', 'f: server: must be the address of a server, not 5'],
  ['server = "ftp://x"', 'f: server: must be an address with http, https or no scheme, and no user, not "ftp://x"'],
  ['[host."http://u:p@x"]', 'f: host "http://u:p@x": must be an address'],
  ['[host."https://m"]\ncapabilites = []', 'f: host."https://m".capabilites: no such key'],
  [
    '[host."https://m"]\ncapabilities = ["pul"]',
    'f: host."https://m".capabilities[0]: must be one of pull, resolve, push, referrers, not "pul"',
  ],
  ['[host."https://m"]\nca = 1', 'f: host."https://m".ca: must be a string or a list of strings, not 1'],
  ['client = [["a", "b", "c"]]', 'f: client: must be a file, a list of files or a list of pairs'],
  ['skip_verify = "yes"', 'f: skip_verify: must be true or false, not "yes"'],
  ['dial_timeout = "5"', 'f: dial_timeout: must be a duration such as "5s", not "5"'],
  ['dial_timeout = 5', 'f: dial_timeout: must be a duration such as "5s", not 5'],
  ['[header]\nx = 1', 'f: header.x: must be a string or a list of strings, not 1'],
  ['[header]\n"a b" = "1"', 'f: header "a b": must be the name of a header'],
])('%j is refused: %s', (text, problem) => {
  expect(() => parseHostsFile(text, 'f')).toThrow(problem)
})

test.each([
  ['docker.io', 'https://registry-1.docker.io/v2/', false, false],
  ['r.example:5000', 'https://r.example:5000/v2/', false, false],
  ['localhost', 'https://localhost/v2/', false, false],
  ['localhost:443', 'https://localhost:443/v2/', false, false],
  ['127.0.0.1:5000', 'https://127.0.0.1:5000/v2/', true, true],
  ['[::1]:5000', 'https://[::1]:5000/v2/', true, true],
  ['localhost:80', 'http://localhost:80/v2/', false, false],
])('%s by itself is %s', (domain, api, mayBePlain, skipVerify) => {
  expect(ownHost(domain)).toMatchObject({ api, mayBePlain, skipVerify, isMirror: false })
})

test('names of folders', () => {
  expect(folderNames('r.example:5000')).toEqual(['r.example_5000_', 'r.example:5000', '_default'])
  expect(folderNames('docker.io')).toEqual(['docker.io', '_default'])
  expect(folderNames('[::1]:5000')).toEqual(['[::1]_5000_', '[::1]:5000', '_default'])
})

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nodelet-hosts-'))
})
afterEach(() => rmSync(root, { recursive: true }))

function write(path: string, text: string): void {
  mkdirSync(join(root, path, '..'), { recursive: true })
  writeFileSync(join(root, path), text)
}
const apis = async (domain: string): Promise<string[]> => (await hostsOf(domain, root)).map(({ api }) => api)

test('the first folder there is counts, and is read each time', async () => {
  expect(await apis('r.example:5000')).toEqual(['https://r.example:5000/v2/'])
  write('_default/hosts.toml', '[host."https://d.example"]')
  expect(await apis('r.example:5000')).toEqual(['https://d.example/v2/', 'https://r.example:5000/v2/'])
  expect(await apis('docker.io')).toEqual(['https://d.example/v2/', 'https://registry-1.docker.io/v2/'])
  write('r.example:5000/hosts.toml', 'server = "http://s.example:1/x/"')
  expect(await apis('r.example:5000')).toEqual(['http://s.example:1/x/v2/'])
  write('r.example_5000_/hosts.toml', '[host."m.example/v2"]\n[host."m.example/x"]\noverride_path = true')
  expect(await apis('r.example:5000')).toEqual([
    'https://m.example/v2/',
    'https://m.example/x/',
    'https://r.example:5000/v2/',
  ])
  // Of several roots the first that has a folder for the name.
  const hosts = await hostsOf('r.example:5000', `${root}/none:${root}`)
  expect(hosts.map(({ isMirror }) => isMirror)).toEqual([true, true, false])
})

test('a host with TLS settings and plain http is tried with TLS first', async () => {
  write('_default/hosts.toml', '[host."http://m.example:5000"]\nskip_verify = true')
  expect((await hostsOf('x.example', root))[0]).toMatchObject({ api: 'https://m.example:5000/v2/', mayBePlain: true })
})

test('files of certificates: from hosts.toml, or in the way of Docker', async () => {
  const pem = '-----BEGIN X-----\n'
  for (const name of ['ca.crt', 'me.cert', 'me.key']) write(`r.example/${name}`, pem + name)
  const docker = { ca: [`${pem}ca.crt`], client: [{ cert: `${pem}me.cert`, key: `${pem}me.key` }] }
  expect(await hostsOf('r.example', root)).toMatchObject([{ api: 'https://r.example/v2/', ...docker }])
  write('r.example/lone.key', pem)
  await expect(hostsOf('r.example', root)).rejects.toThrow(`${root}/r.example/lone.key: a key without its certificate`)
  write('r.example/hosts.toml', `[host."m.example"]\nca = "ca.crt"\nclient = [["${root}/r.example/me.cert", "me.key"]]`)
  expect((await hostsOf('r.example', root))[0]).toMatchObject(docker)
  write('r.example/hosts.toml', 'ca = "none.pem"')
  await expect(hostsOf('r.example', root)).rejects.toThrow(
    `${root}/r.example/hosts.toml: ca: "${root}/r.example/none.pem": ENOENT`,
  )
})
