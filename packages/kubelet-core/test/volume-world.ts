// A folder, objects and a manager for tests of volumes; all mounts below the folder go at the end.
import { mkdtempSync, realpathSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readMountInfo, unmount } from '@nodelet/linux'
import type { ConfigMap, Container, Pod, PodSpec, Secret, Volume } from 'kubernetes-types/core/v1.d.ts'
import { createVolumeManager } from '../src/index.ts'
import type { VolumeManager, VolumeManagerOptions } from '../src/index.ts'
import type { ObjectSource } from '../src/objects.ts'

export interface World {
  rootDir: string
  configMaps: Map<string, ConfigMap>
  secrets: Map<string, Secret>
  /** Milliseconds that tokens live. */
  tokenLife: number
  tokensGiven: { audiences: readonly string[]; bound: string | undefined }[]
  tokensRefused: boolean
  changed(kind: 'ConfigMap' | 'Secret', name: string): void
  manager: VolumeManager
  newManager(more?: Partial<VolumeManagerOptions>): VolumeManager
  mountsBelow(path?: string): Promise<string[]>
  end(): Promise<void>
}

/** @param rereadMs as of a source that tells no changes */
export function newWorld(rereadMs?: number): World {
  const rootDir = realpathSync(mkdtempSync(join(tmpdir(), 'nodelet-volumes-')))
  const listeners = new Set<Parameters<ObjectSource['onChange']>[0]>()
  const managers: VolumeManager[] = []
  const objects: ObjectSource = {
    rereadMs,
    configMap: async (_, name) => world.configMaps.get(name),
    secret: async (_, name) => world.secrets.get(name),
    trustBundles: async () => [],
    services: async () => [],
    knownServices: () => [],
    token: async (namespace, account, { audiences, boundObjectRef }) => {
      if (world.tokensRefused) throw new Error('no API server')
      world.tokensGiven.push({ audiences, bound: boundObjectRef?.uid })
      return {
        token: `${namespace}/${account} #${world.tokensGiven.length}`,
        expirationTimestamp: new Date(Date.now() + world.tokenLife).toISOString(),
      }
    },
    onChange: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  const newManager: World['newManager'] = (more) => {
    const manager = createVolumeManager({ rootDir, nodeName: 'node', objects, ...more })
    managers.push(manager)
    return manager
  }
  const mountsBelow = async (path = rootDir): Promise<string[]> =>
    (await readMountInfo())
      .map(({ mountPoint }) => mountPoint)
      .filter((mountPoint) => mountPoint.startsWith(`${path}/`))
  const world: World = {
    rootDir,
    configMaps: new Map(),
    secrets: new Map(),
    tokenLife: 3_600_000,
    tokensGiven: [],
    tokensRefused: false,
    changed: (kind, name) => listeners.forEach((listener) => listener(kind, 'n', name)),
    manager: newManager(),
    newManager,
    mountsBelow,
    end: async () => {
      await Promise.all(managers.map((manager) => manager.close()))
      for (const mountPoint of (await mountsBelow()).toReversed()) unmount(mountPoint, { detach: true })
      await rm(rootDir, { recursive: true })
    },
  }
  return world
}

/** A pod whose one container mounts all of these. */
export function podWith(
  volumes: readonly Volume[],
  spec: Partial<PodSpec> = {},
  container: Partial<Container> = {},
): Pod {
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/${name}` }))
  return {
    metadata: { name: 'p', namespace: 'n', uid: 'uid-1', labels: { app: 'web' } },
    spec: {
      serviceAccountName: 'sa',
      containers: [{ name: 'c', volumeMounts, ...container }],
      volumes: [...volumes],
      ...spec,
    },
  }
}
