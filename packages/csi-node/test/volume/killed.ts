// A process that sets a volume up, or takes it away, and is killed at some step of it.
import { createCsiDrivers, createCsiVolumes } from '../../src/index.ts'
import { disk, driverName, never, podOf } from './world.ts'

const [rootDir = '', endpoint = '', work = ''] = process.argv.slice(2)
const drivers = createCsiDrivers()
await drivers.register({ name: driverName, endpoint, versions: ['1.0.0'] }, never)
const no = async () => Promise.reject(new Error('there is none'))
const volumes = await createCsiVolumes({ rootDir, nodeName: 'node-1', drivers, objects: { secret: no, token: no } })
if (work === 'up') await volumes.setUp(disk(), podOf(), {}, never)
else await volumes.tearDown('uid-1')
