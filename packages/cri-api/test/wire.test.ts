import { testWire } from '../../../tools/test/wire.ts'

testWire({ folder: 'packages/cri-api', proto: 'runtime.proto', table: 'cri-v1.json' })
