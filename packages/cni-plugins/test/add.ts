// A process that joins one pod to the network and may be killed meanwhile: folder, host's namespace, pod's namespace.
import { join } from 'node:path'
import { createCni } from '../src/index.ts'

const [folder = '', hostNetns = '', netns = ''] = process.argv.slice(2)
const cni = createCni({
  confDir: join(folder, 'net.d'),
  binDirs: [join(folder, 'bin')],
  cacheDir: join(folder, 'cache'),
  hostNetns,
})
await cni.add({
  containerId: 'one',
  netns,
  ifName: 'eth0',
  portMappings: [{ hostPort: 8081, containerPort: 80, protocol: 'tcp' }],
})
