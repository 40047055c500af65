import { testWire } from '../../../tools/test/wire.ts'

for (const [proto, table] of [
  ['csi.proto', 'csi-v1.json'],
  ['pluginregistration.proto', 'pluginregistration-v1.json'],
] as const) {
  testWire({ folder: 'packages/csi-node', proto, table })
}
