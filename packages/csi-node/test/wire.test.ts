import { testWire } from '../../../tools/test/wire.ts'

testWire({ folder: 'packages/csi-node', proto: 'csi.proto', table: 'csi-v1.json' })
