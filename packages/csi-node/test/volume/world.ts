// A kubelet's folder, a driver on a socket that really mounts, and what is left of both.
import { mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readMountInfo, unmount } from '@nodelet/linux'
import {
  createCsiDrivers,
  createCsiVolumes,
  type CsiDrivers,
  type CsiOperation,
  type CsiPod,
  type CsiVolume,
  type CsiVolumes,
  type CsiVolumesOptions,
} from '../../src/index.ts'
import {
  createDriver,
  ensureMounted,
  ensureTarget,
  ensureUnmounted,
  type NodeFunctions,
  removeTarget,
  type ServingDriver,
  usageOf,
} from '../../src/sdk/index.ts'

export const driverName = 'disk.example.com'
export const never = new AbortController().signal

export interface Call {
  rpc: string
  request: Record<string, never>
}

export interface World extends AsyncDisposable {
  base: string
  rootDir: string
  socketPath: string
  drivers: CsiDrivers
  calls: Call[]
  /** All calls of drivers that have ended. */
  operations: CsiOperation[]
  /** The names of what the driver was asked since the last time. */
  asked(): string[]
  /** Comes before, or after, what the driver does; by the name of its function. */
  before: Partial<Record<keyof NodeFunctions, () => unknown>>
  after: Partial<Record<keyof NodeFunctions, () => unknown>>
  /** A process that knows nothing but the disk. */
  open(more?: Partial<CsiVolumesOptions>): Promise<CsiVolumes>
  /** What is mounted below the kubelet's folder. */
  mounts(): Promise<string[]>
  /** All files and folders below `pods` and the plugin's folder, save those that stay. */
  left(): string[]
  secrets: Map<string, Record<string, string>>
}

/** @param without functions that the driver does not have */
export async function newWorld(without: readonly (keyof NodeFunctions)[] = []): Promise<World> {
  const base = realpathSync(mkdtempSync(join(tmpdir(), 'csi-')))
  const rootDir = join(base, 'root')
  const calls: Call[] = []
  let seen = 0
  const { before, after }: Pick<World, 'before' | 'after'> = { before: {}, after: {} }
  const noted = <Request, Answer>(rpc: keyof NodeFunctions, work: (request: Request) => Promise<Answer>) => {
    return async (request: Request): Promise<Answer> => {
      calls.push({ rpc, request: request as never })
      await before[rpc]?.()
      const answer = await work(request)
      await after[rpc]?.()
      return answer
    }
  }
  const all: NodeFunctions = {
    info: () => ({ nodeId: 'node-1' }),
    stage: noted('stage', async ({ stagingPath }) => {
      await ensureMounted({ source: 'disk', target: stagingPath, type: 'tmpfs', options: ['size=1m'] })
    }),
    unstage: noted('unstage', async ({ stagingPath }) => ensureUnmounted(stagingPath)),
    publish: noted('publish', async ({ stagingPath, targetPath, readOnly }) => {
      await ensureTarget(targetPath, 'folder')
      const inline = { source: 'inline', target: targetPath, type: 'tmpfs', options: ['size=1m'], readOnly }
      await ensureMounted(stagingPath === undefined ? inline : { source: stagingPath, target: targetPath, readOnly })
    }),
    unpublish: noted('unpublish', async ({ targetPath }) => removeTarget(targetPath)),
    stats: noted('stats', async ({ volumePath }) => ({ usage: await usageOf(volumePath) })),
    expand: noted('expand', async ({ range }) => ({ capacityBytes: range.requiredBytes })),
  }
  const node = Object.fromEntries(Object.entries(all).filter(([name]) => !without.includes(name as never)))
  const driver = createDriver({ name: driverName, version: '1.0.0', node: node as never })
  const serving: ServingDriver = await driver.serve({ endpoint: join(base, 'csi.sock'), register: false })
  const operations: CsiOperation[] = []
  const drivers = createCsiDrivers({ observed: (operation) => operations.push(operation) })
  await drivers.register({ name: driverName, endpoint: serving.socketPath, versions: ['1.0.0'] }, never)
  const opened: CsiVolumes[] = []
  const secrets: World['secrets'] = new Map()
  const mounts = async (): Promise<string[]> =>
    (await readMountInfo('self', { below: rootDir })).map(({ mountPoint }) => mountPoint.slice(rootDir.length))
  return {
    base,
    rootDir,
    socketPath: serving.socketPath,
    drivers,
    calls,
    operations,
    before,
    after,
    secrets,
    mounts,
    asked() {
      const names = calls.slice(seen).map(({ rpc }) => rpc)
      seen = calls.length
      return names
    },
    async open(more) {
      const volumes = await createCsiVolumes({
        rootDir,
        nodeName: 'node-1',
        drivers,
        objects: {
          async secret({ namespace, name }) {
            const found = secrets.get(`${namespace}/${name}`)
            if (!found) throw new Error(`secrets "${name}" not found`)
            return found
          },
          token: async (pod, { audience }) => ({ token: `${pod.uid} for ${audience}`, expirationTimestamp: 'soon' }),
        },
        ...more,
      })
      opened.push(volumes)
      return volumes
    },
    left: () =>
      ['pods', 'plugins'].flatMap((folder) => {
        try {
          const found = readdirSync(join(rootDir, folder), { recursive: true, encoding: 'utf8' })
          return found
            .map((name) => join(folder, name))
            .filter((name) => !stays.has(name))
            .toSorted()
        } catch {
          return [] // nothing was ever there
        }
      }),
    async [Symbol.asyncDispose]() {
      await Promise.all(opened.map(async (volumes) => volumes.close()))
      await serving.close()
      for (const { mountPoint } of (await readMountInfo('self', { below: base })).toReversed()) {
        unmount(mountPoint, { detach: true })
      }
      rmSync(base, { recursive: true })
    },
  }
}

/** Folders that the pod's worker removes, and those of plugins, which stay. */
const stays = new Set([
  ...['uid-1', 'uid-2'].flatMap((uid) => [
    `pods/${uid}`,
    `pods/${uid}/volumes`,
    `pods/${uid}/volumes/kubernetes.io~csi`,
  ]),
  'plugins/kubernetes.io',
  'plugins/kubernetes.io/csi',
  `plugins/kubernetes.io/csi/${driverName}`,
  'plugins/kubernetes.io/csi/volumeDevices',
  'plugins/kubernetes.io/csi/volumeDevices/staging',
  'plugins/kubernetes.io/csi/volumeDevices/publish',
])

export const podOf = (uid = 'uid-1', more: Partial<CsiPod> = {}): CsiPod => ({
  uid,
  name: 'web',
  namespace: 'shop',
  serviceAccountName: 'sa',
  ...more,
})

export const disk = (more: Partial<CsiVolume> = {}): CsiVolume => ({
  driver: driverName,
  volumeHandle: 'vol-1',
  specName: 'pv-1',
  lifecycle: 'Persistent',
  volumeMode: 'Filesystem',
  accessModes: ['ReadWriteOnce'],
  ...more,
})
