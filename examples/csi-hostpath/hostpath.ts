#!/usr/bin/env node
// A CSI driver: volumes that are folders of this machine, made for claims and deleted with them.
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import {
  createDriver,
  CsiError,
  ensureMounted,
  ensureTarget,
  removeTarget,
  runDriver,
  usageOf,
} from '@nodelet/csi-node/sdk'
import type { CapacityRange, Driver, VolumeCapability } from '@nodelet/csi-node/sdk'

const topologyKey = 'topology.hostpath.csi.example.com/node'
const defaultBytes = 2 ** 30

/** @param stateDir the volumes, and how large each is to be: a folder cannot be held to it */
export function hostpath({ stateDir, nodeId = hostname() }: { stateDir: string; nodeId?: string }): Driver {
  const folderOf = (volumeId: string): string => {
    if (!/^[\w][-\w.]*$/.test(volumeId)) throw new CsiError('NOT_FOUND', `volume ${volumeId}: there is none`)
    return join(stateDir, volumeId)
  }
  const recordOf = (volumeId: string): string => `${folderOf(volumeId)}.json`

  const sizeOf = async (volumeId: string): Promise<number | undefined> => {
    try {
      return (JSON.parse(await readFile(recordOf(volumeId), 'utf8')) as { capacityBytes: number }).capacityBytes
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }
  /** Whole or not there, whenever this is killed. */
  const writeSize = async (volumeId: string, capacityBytes: number): Promise<void> => {
    const record = recordOf(volumeId)
    await writeFile(`${record}.new`, JSON.stringify({ capacityBytes }), { flush: true })
    await rename(`${record}.new`, record)
  }
  const known = async (volumeId: string): Promise<number> => {
    const size = await sizeOf(volumeId)
    if (size === undefined) throw new CsiError('NOT_FOUND', `volume ${volumeId}: there is none`)
    return size
  }
  const requireMounts = (capabilities: readonly VolumeCapability[]): void => {
    if (capabilities.some(({ kind }) => kind === 'block')) {
      throw new CsiError('INVALID_ARGUMENT', 'a folder is no block device')
    }
  }
  const isWithin = (size: number, { requiredBytes, limitBytes = Infinity }: CapacityRange): boolean =>
    size >= requiredBytes && size <= limitBytes

  return createDriver({
    name: 'hostpath.csi.example.com',
    version: '1.0.0',
    hasTopology: true,
    node: {
      info: () => ({ nodeId, topology: { [topologyKey]: nodeId } }),
      async publish({ volumeId, targetPath, capability, readOnly }) {
        requireMounts([capability])
        await known(volumeId)
        await ensureTarget(targetPath, 'folder')
        await ensureMounted({ source: folderOf(volumeId), target: targetPath, readOnly })
      },
      unpublish: async ({ targetPath }) => removeTarget(targetPath),
      stats: async ({ volumePath }) => ({ usage: await usageOf(volumePath) }),
    },
    controller: {
      async create({ name, range, capabilities }) {
        requireMounts(capabilities)
        const volume = (capacityBytes: number) => ({
          volumeId: name,
          capacityBytes,
          topology: [{ [topologyKey]: nodeId }],
        })
        const size = await sizeOf(name)
        if (size !== undefined && isWithin(size, range)) return volume(size)
        if (size !== undefined) throw new CsiError('ALREADY_EXISTS', `volume ${name} is there, with ${size} bytes`)
        const capacityBytes = Math.min(range.requiredBytes || defaultBytes, range.limitBytes ?? Infinity)
        await mkdir(folderOf(name), { recursive: true, mode: 0o777 })
        await writeSize(name, capacityBytes)
        return volume(capacityBytes)
      },
      async delete({ volumeId }) {
        await rm(folderOf(volumeId), { recursive: true, force: true })
        await rm(recordOf(volumeId), { force: true })
      },
      async validate({ volumeId, capabilities }) {
        await known(volumeId)
        return capabilities.some(({ kind }) => kind === 'block') ? 'a folder is no block device' : undefined
      },
      async expand({ volumeId, range }) {
        const capacityBytes = Math.max(await known(volumeId), range.requiredBytes)
        await writeSize(volumeId, capacityBytes)
        return { capacityBytes, nodeExpansionRequired: false }
      },
    },
  })
}

if (import.meta.main) {
  const stateDir = process.env['STATE_DIR'] ?? '/var/lib/csi-hostpath'
  await mkdir(stateDir, { recursive: true })
  await runDriver(hostpath({ stateDir }))
}
