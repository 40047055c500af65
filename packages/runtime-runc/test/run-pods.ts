// Makes pods until it is killed: a program of its own for the test of that.
import { join } from 'node:path'
import { createCni } from '@nodelet/cni-plugins'
import { NamespaceMode, PodSandboxConfig } from '@nodelet/cri-api'
import { openRuntime } from '../src/index.ts'
import type { Images } from '../src/index.ts'

const folder = process.env['FIXTURE'] ?? ''
const cni = createCni({
  confDir: join(folder, 'net.d'),
  binDirs: [],
  cacheDir: join(folder, 'cni'),
  hostNetns: join(folder, 'host-net'),
})
// The images are open in the test's own process, and pods need none.
const images = { root: folder, releaseRootfs: async () => {}, releaseViews: async () => {} } as unknown as Images
const { runtimeService } = await openRuntime({
  stateDir: join(folder, 'state'),
  runDir: join(folder, 'run'),
  cni,
  images,
  cgroupParentDefault: process.env['CGROUP'] ?? '',
})
process.stdout.write('ready\n')
await Promise.all(
  Array.from({ length: 12 }, async (_, index) => {
    const config = PodSandboxConfig.fromPartial({
      metadata: { name: `crash${index}`, namespace: 'default', uid: 'u' },
      linux: {
        securityContext: { namespaceOptions: { pid: index % 2 ? NamespaceMode.POD : NamespaceMode.CONTAINER } },
      },
    })
    await runtimeService.runPodSandbox({ config, runtimeHandler: '' })
  }),
)
await new Promise(() => setInterval(() => {}, 1000))
