// Drivers that really serve, a kubelet's part that watches for them, and an API server in memory.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { systemClock } from '../../src/clock.ts'
import { type DraPluginOptions, serveDraPlugin } from '../../src/dra/plugin.ts'
import { silentLogger } from '../../src/log.ts'
import type { PluginHandler } from '../../src/plugins/registration.ts'
import { createPluginWatcher } from '../../src/plugins/watcher.ts'
import { createMemoryApi, type MemoryApi } from '../memory-api.ts'

export const driverName = 'clock.example.com'

export interface DriverWorld extends AsyncDisposable {
  rootDir: string
  api: MemoryApi
  opened: AsyncDisposableStack
  /** What drivers were asked to do: `+NAME` prepares a claim, `-NAME` unprepares it. */
  calls: string[]
  plug(more?: Partial<DraPluginOptions>): Promise<AsyncDisposable>
  watchFor(drivers: PluginHandler): Promise<void>
  /** A claim in the API that these pods may use. */
  putClaim(name: string, podUids: readonly string[], drivers?: readonly string[]): void
}

export async function openWorld(): Promise<DriverWorld> {
  const rootDir = await mkdtemp(join(tmpdir(), 'dra-'))
  const opened = new AsyncDisposableStack()
  opened.defer(async () => rm(rootDir, { recursive: true, force: true }))
  const api = createMemoryApi()
  const calls: string[] = []
  return {
    rootDir,
    api,
    opened,
    calls,
    async plug(more = {}) {
      const plugin = await serveDraPlugin({
        driverName,
        rootDir,
        prepare({ name }) {
          calls.push(`+${name}`)
          return [{ pool: 'node-1', device: 'east', cdiIds: [`example.com/clock=${name}`] }]
        },
        unprepare: ({ name }) => void calls.push(`-${name}`),
        ...more,
      })
      return opened.use(plugin)
    },
    async watchFor(drivers) {
      const folder = join(rootDir, 'plugins_registry')
      const handlers = new Map([['DRAPlugin', drivers]])
      const watcher = createPluginWatcher({ folder, handlers, clock: systemClock, log: silentLogger })
      opened.use(watcher)
      await watcher.start()
    },
    putClaim(name, podUids, drivers = [driverName]) {
      api.put(`/apis/resource.k8s.io/v1/namespaces/here/resourceclaims/${name}`, {
        metadata: { name, namespace: 'here', uid: `uid-${name}` },
        status: {
          allocation: { devices: { results: drivers.map((driver) => ({ driver })) } },
          reservedFor: podUids.map((uid) => ({ uid })),
        },
      } as never)
    },
    [Symbol.asyncDispose]: async () => opened.disposeAsync(),
  }
}

/** A pod that uses claims, all of them in its one container. */
export const podWith = (uid: string, ...claims: string[]): Pod =>
  ({
    metadata: { name: uid, namespace: 'here', uid },
    spec: {
      containers: [{ name: 'main', resources: { claims: claims.map((name) => ({ name })) } }],
      resourceClaims: claims.map((name) => ({ name, resourceClaimName: name })),
    },
  }) as Pod
