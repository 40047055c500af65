import { expect, test } from 'vitest'
import { parseManifest } from '../src/image/manifest.ts'
import { normalise, rankOf, variantOf } from '../src/image/platform.ts'
import { selectManifest } from '../src/image/select.ts'

const blob = (mediaType: string, letter: string) => ({ mediaType, digest: `sha256:${letter.repeat(64)}`, size: 1 })
const config = blob('application/vnd.oci.image.config.v1+json', 'c')
const layer = blob('application/vnd.oci.image.layer.v1.tar+gzip', 'd')
const entry = (os: string, arch: string, letter: string) => ({
  ...blob('m', letter),
  platform: { os, architecture: arch },
})
const parse = (value: unknown) => parseManifest(Buffer.from(JSON.stringify(value)), 'app')

test('a manifest', () => {
  expect(parse({ schemaVersion: 2, config, layers: [layer] })).toEqual({ manifest: { config, layers: [layer] } })
})

const machine = { os: 'linux', architecture: 'amd64', variant: 'v2' }
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
/** Every digest `aaa…` is a manifest whose layer has the same letter. */
const select = async (root: unknown, others: Record<string, unknown> = {}): Promise<string> => {
  const { manifest } = await selectManifest(json(root), {
    what: 'app',
    machine,
    manifest: async ({ digest }) => {
      const letter = digest.slice(-1)
      return json(others[letter] ?? { config: { ...config, digest }, layers: [] })
    },
    config: async ({ digest }) => json({ os: 'linux', architecture: digest.endsWith('b') ? 'x86_64' : 'vax', rootfs }),
  })
  return manifest.config.digest.slice(-1)
}
const rootfs = { type: 'layers', diff_ids: [] }
const variant = (name: string, level: string, letter: string) => ({
  ...blob('m', letter),
  platform: { os: 'linux', architecture: name, variant: level },
})

test.each([
  ['this platform', [entry('linux', 'vax', 'a'), entry('linux', 'amd64', 'b')], 'b'],
  ['no attestation', [entry('unknown', 'unknown', 'a'), entry('linux', 'amd64', 'b')], 'b'],
  ['the best variant that runs', ['v1', 'v3', 'v2'].map((v, at) => variant('amd64', v, 'abc'[at] ?? '')), 'c'],
  ['386 when nothing else', [entry('linux', '386', 'a'), entry('windows', 'amd64', 'b')], 'a'],
  ['entries that say nothing are looked into', [blob('m', 'a'), blob('m', 'b')], 'b'],
  ['those only when no other fits', [blob('m', 'b'), entry('linux', 'amd64', 'a')], 'a'],
])('an index: %s', async (_, manifests, letter) => {
  expect(await select({ manifests })).toBe(letter)
})

test('indexes within indexes, three deep', async () => {
  const inner = { d: { manifests: [blob('m', 'e')] }, e: { manifests: [entry('linux', 'amd64', 'b')] } }
  expect(await select({ manifests: [blob('m', 'd')] }, inner)).toBe('b')
  const deeper = { ...inner, e: { manifests: [blob('m', 'f')] }, f: { manifests: [entry('linux', 'amd64', 'b')] } }
  await expect(select({ manifests: [blob('m', 'd')] }, deeper)).rejects.toThrow('more than 3 indexes within each other')
})

test('an index without this platform says what it has', async () => {
  await expect(
    select({ manifests: [entry('windows', 'amd64', 'a'), variant('arm', 'v7', 'b')] }),
  ).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringMatching(
      /^app: no match for platform in manifest: not found: it is linux\/amd64\/v2, there is windows\/amd64, linux\/arm\/v7$/,
    ),
  })
})

test.each([
  [{ os: 'Linux', architecture: 'x86_64' }, 'linux/amd64/v1'],
  [{ os: 'linux', architecture: 'aarch64' }, 'linux/arm64/v8'],
  [{ os: 'linux', architecture: 'arm64', variant: '8' }, 'linux/arm64/v8'],
  [{ os: 'linux', architecture: 'armhf' }, 'linux/arm/v7'],
  [{ os: 'linux', architecture: 'armel' }, 'linux/arm/v6'],
  [{ os: 'linux', architecture: 'arm' }, 'linux/arm/v7'],
  [{ os: 'linux', architecture: 's390x' }, 'linux/s390x/'],
])('%j is %s', (given, text) => {
  const { os, architecture, variant: level } = normalise(given)
  expect(`${os}/${architecture}/${level}`).toBe(text)
})

test.each([
  ['arm64', 'v8', ['arm64/v8', 'arm/v8', 'arm/v7', 'arm/v6', 'arm/v5'], ['amd64/v1', 'arm64/v9']],
  ['arm', 'v7', ['arm/v7', 'arm/v6', 'arm/v5'], ['arm/v8', 'arm64/v8']],
  ['amd64', 'v3', ['amd64/v3', 'amd64/v2', 'amd64/v1', '386/'], ['amd64/v4', 'arm64/v8']],
])('%s/%s runs, best first, %j but not %j', (architecture, level, good, bad) => {
  const own = { os: 'linux', architecture, variant: level }
  const rank = (text: string): number | undefined => {
    const [name = '', its = ''] = text.split('/')
    return rankOf({ os: 'linux', architecture: name, variant: its }, own)
  }
  expect(good.map(rank)).toEqual(good.map((_, at) => at))
  expect(bad.map(rank)).toEqual(bad.map(() => undefined))
})

const second = 'cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3'
const third = 'avx avx2 bmi1 bmi2 f16c fma abm movbe xsave'
test.each([
  ['amd64', 'flags\t\t: fpu sse2', 'v1'],
  ['amd64', `flags : ${second}`, 'v2'],
  ['amd64', `flags : ${third}`, 'v1'],
  ['amd64', `flags : ${second} ${third}`, 'v3'],
  ['amd64', `flags : ${second} ${third} avx512f avx512bw avx512cd avx512dq avx512vl`, 'v4'],
  ['arm', 'CPU architecture: 7', 'v7'],
  ['arm64', '', undefined],
])('%s with %j is %s', (arch, cpuinfo, level) => {
  expect(variantOf(arch, cpuinfo)).toBe(level)
})

test.each<[string, unknown, string]>([
  ['schema 1', { schemaVersion: 1, fsLayers: [] }, 'app: manifest schema 1 is no longer supported'],
  [
    'an artifact',
    { config: blob('application/vnd.oci.empty.v1+json', 'c'), layers: [layer] },
    'app is an artifact of type application/vnd.oci.empty.v1+json',
  ],
  [
    'encrypted',
    { config, layers: [blob('application/vnd.oci.image.layer.v1.tar+gzip+encrypted', 'd')] },
    'is encrypted',
  ],
  [
    'a digest that climbs',
    { config: { ...config, digest: 'sha256:../x' }, layers: [] },
    'app: config.digest: must be sha256:',
  ],
  ['an artifact by its type', { artifactType: 'a/b', config, layers: [] }, 'app is an artifact of type a/b'],
  [
    'a layer that is none',
    { config, layers: [blob('text/plain', 'd')] },
    'has media type text/plain, which is no file',
  ],
  ['both kinds', { config, layers: [], manifests: [] }, 'app: both an index and a manifest'],
  ['no object', 1, 'app: '],
])('%s: refused', (_, value, message) => {
  expect(() => parse(value)).toThrow(message)
})

test('no JSON', () => {
  expect(() => parseManifest(Buffer.from('<html>'), 'app')).toThrow('app is not JSON')
})
