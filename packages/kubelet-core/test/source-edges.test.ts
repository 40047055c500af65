// Static pods from files that change and from a server.
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { silentLogger } from '../src/log.ts'
import { manifestsSource } from '../src/source/manifests.ts'
import type { PodSource } from '../src/source/source.ts'
import { urlSource } from '../src/source/url.ts'

let folder: string
let sources: PodSource[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'source-'))
})
afterEach(async () => {
  for (const source of sources.splice(0)) await source.close()
  await rm(folder, { recursive: true, force: true })
})

const manifest = (name: string, image = 'nginx'): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  spec: { containers: [{ name: 'main', image }] },
})
const yaml = (...all: (object | string)[]): string =>
  all.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))).join('\n---\n')

/** The names of each set that the source tells. */
async function follow(source: PodSource): Promise<string[][]> {
  const sets: string[][] = []
  sources.push(source)
  await source.start((pods: readonly Pod[]) => void sets.push(pods.map(({ metadata }) => metadata?.name ?? '')))
  return sets
}

it('a file has a pod per document; a broken document or file disturbs no other, and a name is taken once', async () => {
  const duplicates: (string | undefined)[] = []
  await writeFile(join(folder, 'many.yaml'), yaml(manifest('a'), '{kind: Job}', manifest('b')))
  await writeFile(join(folder, 'other.json'), JSON.stringify(manifest('a', 'other')))
  await writeFile(join(folder, 'broken.yaml'), 'kind: [')
  await writeFile(join(folder, '.hidden'), JSON.stringify(manifest('hidden')))
  const duplicate = ({ metadata }: Pod): void => void duplicates.push(metadata?.name)
  const sets = await follow(manifestsSource({ folder, nodeName: 'n', duplicate }))
  expect(sets).toEqual([['a-n', 'b-n']])
  expect(duplicates).toEqual(['a-n'])
  await writeFile(join(folder, 'many.yaml'), yaml(manifest('b')))
  await expect.poll(() => sets.at(-1)).toEqual(['b-n', 'a-n'])
})

it('a broken manifest is told with all that is wrong, and runs when it is mended; another beside it runs on', async () => {
  const told: [object, string][] = []
  const log = { ...silentLogger, error: (fields: object, message: string) => void told.push([fields, message]) }
  const path = join(folder, 'broken.yaml')
  const broken = { ...manifest('b', ''), spec: { restartPolicy: 'X', containers: [{ name: 'B.C' }] } }
  await writeFile(path, yaml(broken))
  await writeFile(join(folder, 'good.yaml'), yaml(manifest('a')))
  const sets = await follow(manifestsSource({ folder, nodeName: 'n', log, checkMs: 20 }))
  expect(sets).toEqual([['a-n']])
  const label =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
  const text = `[spec.containers[0].name: Invalid value: "B.C": ${label}, spec.containers[0].image: Required value, spec.restartPolicy: Unsupported value: "X": supported values: "Always", "OnFailure", "Never"]`
  expect(told).toEqual([[{ file: path }, `manifest ${path}: ${text}; it is skipped`]])
  await writeFile(path, yaml(manifest('b')))
  await expect.poll(() => sets.at(-1)).toEqual(['b-n', 'a-n'])
  expect(told).toHaveLength(1)
})

it('the path may be one file', async () => {
  const path = join(folder, 'one.yaml')
  await writeFile(path, yaml(manifest('a')))
  await writeFile(join(folder, 'two.yaml'), yaml(manifest('b')))
  const sets = await follow(manifestsSource({ folder: path, nodeName: 'n' }))
  expect(sets).toEqual([['a-n']])
  await writeFile(path, yaml(manifest('a'), manifest('c')))
  await expect.poll(() => sets.at(-1)).toEqual(['a-n', 'c-n'])
})

it('a URL is asked again and again; its pods change when its answer does, and stay when it fails', async () => {
  let answer: { status: number; body: string } = { status: 200, body: yaml(manifest('a')) }
  const seen: IncomingMessage['headers'][] = []
  const told: string[] = []
  const log = { ...silentLogger, warn: (fields: object) => void told.push(String('err' in fields && fields.err)) }
  const server = createServer((request, response) => {
    seen.push(request.headers)
    response.writeHead(answer.status).end(answer.body)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/pods`
  try {
    const sets = await follow(
      urlSource({ url, headers: { 'X-Token': ['one', 'two'] }, nodeName: 'n', checkMs: 10, log }),
    )
    const asked = async (more: number): Promise<void> => {
      const least = seen.length + more
      await expect.poll(() => seen.length).toBeGreaterThan(least)
    }
    await expect.poll(() => sets).toEqual([['a-n']])
    expect(seen[0]?.['x-token']).toBe('one, two')
    await asked(2)
    answer = { status: 500, body: 'no' }
    await asked(2)
    answer = { status: 200, body: 'kind: [' }
    await asked(2)
    answer = { status: 200, body: yaml(manifest('a'), manifest('b', '')) }
    await asked(2)
    expect(sets).toHaveLength(1)
    expect(told).toContain('ManifestError: pod 2 of 2: spec.containers[0].image: Required value')
    const items = [manifest('b'), { ...manifest('c'), kind: undefined, apiVersion: undefined }]
    answer = { status: 200, body: JSON.stringify({ kind: 'PodList', apiVersion: 'v1', items }) }
    await expect.poll(() => sets.at(-1)).toEqual(['b-n', 'c-n'])
    answer = { status: 200, body: '' }
    await expect.poll(() => sets.at(-1)).toEqual([])
  } finally {
    server.close()
    server.closeAllConnections()
  }
})

it('of two pods of one name at a URL the first counts; an empty answer is no pods', async () => {
  const duplicates: (string | undefined)[] = []
  let body = yaml(manifest('a'), manifest('b'), manifest('a', 'other'))
  const server = createServer((_request, response) => void response.end(body)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const duplicate = ({ metadata }: Pod): void => void duplicates.push(metadata?.name)
    const sets = await follow(urlSource({ url, nodeName: 'n', checkMs: 20, duplicate }))
    await expect.poll(() => sets).toEqual([['a-n', 'b-n']])
    expect(duplicates).toEqual(['a-n'])
    body = ''
    await expect.poll(() => sets.at(-1)).toEqual([])
  } finally {
    server.closeAllConnections()
    server.close()
  }
})

it('a folder that is removed takes its pods with it', async () => {
  await writeFile(join(folder, 'one.yaml'), yaml(manifest('a')))
  const sets = await follow(manifestsSource({ folder, nodeName: 'n', checkMs: 50 }))
  expect(sets).toEqual([['a-n']])
  await rm(folder, { recursive: true })
  await expect.poll(() => sets.at(-1)).toEqual([])
})
