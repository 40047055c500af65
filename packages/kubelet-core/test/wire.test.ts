import { testWire } from '../../../tools/test/wire.ts'

for (const [proto, table] of [
  ['deviceplugin.proto', 'deviceplugin-v1beta1.json'],
  ['podresources.proto', 'podresources-v1.json'],
  ['profile.proto', 'pprof-profile.json'],
] as const) {
  testWire({ folder: 'packages/kubelet-core', proto, table })
}
