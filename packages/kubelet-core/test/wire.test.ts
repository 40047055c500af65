import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { testWire } from '../../../tools/test/wire.ts'

for (const [proto, table] of [
  ['deviceplugin.proto', 'deviceplugin-v1beta1.json'],
  ['podresources.proto', 'podresources-v1.json'],
  ['profile.proto', 'pprof-profile.json'],
  ['dra.proto', 'dra-v1.json'],
  ['dra-health.proto', 'dra-health-v1alpha1.json'],
] as const) {
  testWire({ folder: 'packages/kubelet-core', proto, table })
}

it('v1beta1 of dra.proto is v1 without the IDs of shares', () => {
  const tableOf = (version: string): { messages: Record<string, [number, string][]>; services: object } =>
    JSON.parse(readFileSync(join(import.meta.dirname, `fixtures/dra-${version}.json`), 'utf8'))
  const [v1, v1beta1] = [tableOf('v1'), tableOf('v1beta1')]
  v1.messages['Device'] = v1.messages['Device']?.filter(([, name]) => name !== 'share_id') ?? []
  expect(v1beta1.messages).toEqual(v1.messages)
  expect(v1beta1.services).toEqual(v1.services)
})
