import { expect, test } from 'vitest'
import { architecture, parseManifest } from '../src/image/manifest.ts'

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

test.each([
  ['this platform', [entry('linux', 'vax', 'a'), entry('linux', architecture, 'b')], 'b'],
  ['no attestation', [entry('unknown', 'unknown', 'a'), entry('linux', architecture, 'b')], 'b'],
  ['one entry that says nothing', [blob('m', 'a')], 'a'],
])('an index: %s', (_, manifests, letter) => {
  expect(parse({ manifests })).toMatchObject({ next: { digest: `sha256:${letter.repeat(64)}` } })
})

test.each<[string, unknown, string]>([
  [
    'another platform',
    { manifests: [entry('windows', architecture, 'a')] },
    `no match for platform linux/${architecture}`,
  ],
  ['schema 1', { schemaVersion: 1, fsLayers: [] }, 'app: schema 1 is too old'],
  ['an artifact', { config: blob('application/vnd.oci.empty.v1+json', 'c'), layers: [layer] }, 'app is an artifact'],
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
  ['no object', 1, 'app: '],
])('%s: refused', (_, value, message) => {
  expect(() => parse(value)).toThrow(message)
})

test('no JSON', () => {
  expect(() => parseManifest(Buffer.from('<html>'), 'app')).toThrow('app is not JSON')
})
