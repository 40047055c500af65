// A kubelet whose process is its own, on a runtime that runs nothing. Prints, as JSON, what became of the process.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createMemoryRuntime } from '@nodelet/cri-api/testing'
import { createKubelet } from '../../src/kubelet.ts'
import { silentLogger } from '../../src/log.ts'

const [folder = '', given = '{}'] = process.argv.slice(2)
const { configuration, ownProcess } = JSON.parse(given) as { configuration: object; ownProcess: boolean }
const warnings: string[] = []
const { runtimeService, imageService } = createMemoryRuntime()
const kubelet = await createKubelet({
  nodeName: 'node-1',
  nodeIPs: ['192.0.2.1'],
  runtimeService,
  imageService,
  rootDir: join(folder, 'root'),
  configuration: { podLogsDir: join(folder, 'logs'), staticPodPath: folder, ...configuration },
  cgroups: {
    version: 1,
    start: async () => {},
    create: async () => '/',
    remove: async () => {},
    list: async () => [],
  },
  ownProcess,
  log: {
    ...silentLogger,
    warn(_fields, message) {
      if (/may not|change nothing/.test(message)) warnings.push(message)
    },
  },
})
await kubelet.start()
const files = /^Max open files\s+(\S+)\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.slice(1).map(Number)
const score = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'))
console.log(JSON.stringify({ files, score, warnings }))
process.once('SIGTERM', () => void kubelet.close())
