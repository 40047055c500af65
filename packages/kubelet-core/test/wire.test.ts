import { testWire } from '../../../tools/test/wire.ts'

for (const [proto, table] of [
  ['deviceplugin.proto', 'deviceplugin-v1beta1.json'],
  ['podresources.proto', 'podresources-v1.json'],
] as const) {
  testWire({ folder: 'packages/kubelet-core', proto, table })
}
