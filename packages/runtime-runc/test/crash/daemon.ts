// A runtime behind a socket, to be killed: a program of its own for the tests of that.
import { flushCompileCache } from 'node:module'
import { join } from 'node:path'
import { createCni } from '@nodelet/cni-plugins'
import { armCrash } from '../../src/crash-points.ts'
import { openImages, openRuntime, serveRuntime } from '../../src/index.ts'
import type { RuntimeOptions } from '../../src/index.ts'

const { folder = '', ...options } = JSON.parse(process.env['DAEMON'] ?? '{}') as Partial<RuntimeOptions> & {
  folder?: string
}
const onProblem = (error: Error): void => void process.send?.({ problem: error.message })
const cni = createCni({
  confDir: join(folder, 'net.d'),
  binDirs: [],
  cacheDir: join(folder, 'cni'),
  hostNetns: join(folder, 'host-net'),
  log: { warn: (_, text) => onProblem(new Error(text)) },
})
process.on('message', ({ arm }: { arm: string | null }) => {
  armCrash(arm ?? undefined)
  process.send?.('armed')
})
process.once('disconnect', () => process.exit()) // the test has ended
const images = await openImages({ root: join(folder, 'images'), onProblem })
const runtime = await openRuntime({
  stateDir: join(folder, 'state'),
  runDir: join(folder, 'run'),
  cni,
  images,
  onProblem,
  ...options,
})
await serveRuntime(runtime, { socketPath: join(folder, 'cri.sock') })
process.send?.('ready')
flushCompileCache() // one that is killed would not write it at its end
