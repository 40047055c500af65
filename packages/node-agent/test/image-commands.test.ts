// `nodelet image …` as a person types it, on the store itself, with a real registry and skopeo beside it.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { openImages } from '@nodelet/runtime-runc'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { makeImage, startRegistry } from '../../runtime-runc/test/registry.ts'
import type { TestImage, TestRegistry } from '../../runtime-runc/test/registry.ts'

const cli = [process.execPath, '--conditions=@nodelet/source', join(import.meta.dirname, '../src/cli.ts')] as const

let registry: TestRegistry
let one: TestImage
let root: string
let name: string
beforeAll(async () => {
  registry = await startRegistry()
  one = await makeImage([[{ name: 'a', content: 'a'.repeat(3 << 20) }], [{ name: 'b', content: 'b' }]])
  await registry.push('apps/one:1', one)
  await registry.push('apps/two:1', await makeImage([[{ name: 'c', content: 'c' }]]))
  name = `${registry.host}/apps/one:1`
})
afterAll(async () => registry[Symbol.asyncDispose]())
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nodelet-cli-'))
})
afterEach(() => rmSync(root, { recursive: true }))

interface Outcome {
  code: number | null
  out: string
  err: string
}

async function image(...words: string[]): Promise<Outcome> {
  const [program, ...args] = cli
  const child = spawn(program, [...args, 'image', ...words, '--root', root, '--run', join(root, 'run')], {
    stdio: 'pipe',
  })
  child.stdin.end()
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')])
  return { code: code as number | null, out, err }
}
const short = (id: string): string => id.slice(7, 19)

test('pulled, listed, looked at, exported, removed, imported', { timeout: 180_000 }, async () => {
  const pulled = await image('pull', name)
  expect(pulled).toMatchObject({ code: 0, err: '' })
  for (const layer of one.layers) expect(pulled.out).toMatch(new RegExp(`^${short(layer)}  \\d+\\.\\d MiB of `, 'm'))
  expect(pulled.out).not.toContain('\u001b')
  expect(pulled.out.trimEnd().split('\n').slice(-2)).toEqual([
    expect.stringMatching(/^IMAGE +ID +SIZE$/),
    expect.stringMatching(new RegExp(`^${name}  ${short(one.id)}  0\\.0 MiB$`)),
  ])
  expect((await image('ls')).out.split('\n')).toHaveLength(3)
  expect(await image('ls', '-q')).toEqual({ code: 0, out: `${one.id}\n`, err: '' })
  expect(JSON.parse((await image('ls', '-o', 'json')).out)).toMatchObject({ images: [{ id: one.id, tags: [name] }] })
  expect(JSON.parse((await image('inspect', short(one.id))).out)).toMatchObject({ id: one.id, repoTags: [name] })

  const [oci, docker] = [join(root, 'oci.tar'), join(root, 'docker.tar')]
  expect(await image('export', name, '-o', oci)).toEqual({ code: 0, out: `wrote ${oci}\n`, err: '' })
  expect((await image('export', name, '-o', docker, '--format', 'docker')).code).toBe(0)
  for (const archive of [`oci-archive:${oci}`, `docker-archive:${docker}`]) {
    const looked = execFileSync('skopeo', ['inspect', '--config', archive], { encoding: 'utf8' })
    expect(JSON.parse(looked)).toMatchObject({ rootfs: { diff_ids: [expect.any(String), expect.any(String)] } })
  }
  expect(await image('rm', name)).toEqual({ code: 0, out: `removed ${name}\n`, err: '' })
  expect((await image('ls')).out).toMatch(/^IMAGE +ID +SIZE\n$/)
  expect((await image('import', docker)).out).toContain(`${name}  ${short(one.id)}`)
  const renamed = await image('import', oci, '--name', 'localhost/mine:2')
  expect(renamed.out).toContain(`localhost/mine:2`)
  expect(readdirSync(root).filter((entry) => /half|scratch/.test(entry))).toEqual([])
})

test('on a terminal it shows bars that fill', () => {
  const words = ['image', 'pull', name, '--root', root, '--run', join(root, 'run')]
  const line = [...cli, ...words].map((word) => `'${word}'`).join(' ')
  const shown = execFileSync('script', ['-qec', line, '/dev/null'], {
    encoding: 'utf8',
    env: { ...process.env, TERM: 'xterm' },
  })
  expect(shown).toMatch(new RegExp(`${short(one.layers[1] ?? '')}  \\[#{24}\\]`))
  expect(shown).toContain('\u001b[')
})

test('several are removed at once, or none', async () => {
  await image('pull', name)
  const other = name.replace('one', 'two')
  await image('pull', other)
  expect(await image('rm', other, 'nothing:1')).toMatchObject({
    code: 1,
    err: '✗ image "nothing:1" is not here: nodelet image ls shows those that are\n',
  })
  expect((await image('rm', other, name)).out).toBe(`removed ${other}\nremoved ${name}\n`)
})

test('what nobody uses is pruned; what containers are made of, and what is pinned, stays', async () => {
  const other = name.replace('one', 'two')
  for (const each of [name, other]) await image('pull', each)
  const config = join(root, 'config.json')
  writeFileSync(config, JSON.stringify({ pinnedImages: ['*two*'] }))
  expect((await image('prune', '--dry-run', '--config', config)).out).toMatch(
    new RegExp(`^would remove ${name}\nwould free \\d+\\.\\d MiB of 1 image, as compressed\n$`),
  )
  {
    await using store = await openImages({ root: join(root, 'images') })
    await store.prepareRootfs('container', store.resolve(name)?.id ?? '')
  }
  expect((await image('prune', '--config', config)).out).toMatch(/^freed 0\.0 MiB of 0 images/)
  {
    await using store = await openImages({ root: join(root, 'images') })
    await store.releaseRootfs('container')
  }
  expect((await image('prune', '--config', config)).out).toContain(`removed ${name}\nfreed`)
  expect((await image('prune')).out).toContain(`removed ${other}\nfreed`)
  expect((await image('ls', '-q')).out).toBe('')
})

test.each([
  [['pull', 'apps/UPPER'], 1, /✗ couldn't parse image name "apps\/UPPER": invalid reference format/],
  [['pull'], 1, /error: missing required argument 'reference'/],
  [['export', 'x'], 1, /error: required option '-o, --output <file>' not specified/],
  [['ls', '-o', 'xml'], 1, /argument 'xml' is invalid. Allowed choices are table, json/],
  [['inspect', 'nothing:1'], 1, /✗ image "nothing:1" is not here/],
  [['import', '/nowhere.tar'], 1, /✗ \/nowhere.tar: ENOENT/],
])('%j is refused in words', async (words, code, told) => {
  const outcome = await image(...words)
  expect(outcome.code).toBe(code)
  expect(outcome.err).toMatch(told)
  expect(outcome.out).toBe('')
})

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends a pull and leaves nothing open', async (signal) => {
  const asked = Promise.withResolvers<undefined>()
  const server = createServer((request, response) => {
    if (request.url?.includes('/manifests/')) return void response.end(one.manifest)
    const blob = one.blobs.get(/sha256:\w+/.exec(request.url ?? '')?.[0] ?? '')
    if (!request.url?.includes(one.layers[0] ?? '-')) return void response.end(blob)
    response.writeHead(200, { 'content-length': blob?.length ?? 0 }).write('\u001f', () => asked.resolve(undefined))
  }).listen(0, '127.0.0.1')
  try {
    await once(server, 'listening')
    const slow = `127.0.0.1:${(server.address() as AddressInfo).port}/apps/one:1`
    const [program, ...args] = cli
    const child = spawn(program, [...args, 'image', 'pull', slow, '--root', root, '--run', join(root, 'run')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const said = text(child.stderr)
    await asked.promise
    child.kill(signal)
    expect((await once(child, 'exit'))[0]).toBe(signal === 'SIGINT' ? 130 : 143)
    expect(await said).toBe(`✗ ended by ${signal}\n`)
    expect((await image('ls', '-q')).out).toBe('')
    expect(readdirSync(join(root, 'images/l'))).toEqual([])
  } finally {
    server.closeAllConnections()
    server.close()
  }
})

test('what a killed export left is taken away by the next', async () => {
  await image('pull', name)
  const path = join(root, 'out.tar')
  writeFileSync(`${path}.half`, 'left')
  await image('export', name, '-o', path)
  expect(existsSync(`${path}.half`)).toBe(false)
  expect(existsSync(path)).toBe(true)
})
