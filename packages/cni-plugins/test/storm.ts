// A process that does one thing to many pods at the same time, and may be killed meanwhile: folder, host's namespace, what, how many.
import { join } from 'node:path'
import { createCni } from '../src/index.ts'
import type { PodNetwork } from '../src/index.ts'

const [folder = '', hostNetns = '', what = '', many = '0'] = process.argv.slice(2)
using cni = createCni({
  confDir: join(folder, 'net.d'),
  binDirs: [],
  cacheDir: join(folder, 'cache'),
  hostNetns,
  log: { warn: (fields, message) => console.error(message, fields) },
})
const pods = Array.from({ length: Number(many) }, (_, at): PodNetwork => {
  const containerId = `pod${at}`
  const portMappings = [{ hostPort: 10_000 + at, containerPort: 80, protocol: 'tcp' as const }]
  return { containerId, netns: join(folder, containerId), ifName: 'eth0', portMappings }
})
if (what === 'add') {
  const results = await Promise.all(pods.map(async (pod) => cni.add(pod)))
  console.log(JSON.stringify(results.flatMap(({ ips }) => ips.map(({ address }) => address))))
} else if (what === 'del') await Promise.all(pods.map(async (pod) => cni.del(pod)))
else await cni.gc([])
