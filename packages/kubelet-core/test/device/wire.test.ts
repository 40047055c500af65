import { testWire } from '../../../../tools/test/wire.ts'

testWire({ folder: 'packages/kubelet-core', proto: 'deviceplugin.proto', table: 'deviceplugin-v1beta1.json' })
