#!/usr/bin/env node
// A CSI driver: inline volumes in memory, of the size that the pod asks for.
import { hostname } from 'node:os'
import {
  createDriver,
  CsiError,
  ensureMounted,
  ensureTarget,
  removeTarget,
  runDriver,
  usageOf,
} from '@nodelet/csi-node/sdk'
import type { Driver } from '@nodelet/csi-node/sdk'

export const tmpfs: Driver = createDriver({
  name: 'tmpfs.csi.example.com',
  version: '1.0.0',
  node: {
    info: () => ({ nodeId: hostname() }),
    async publish({ targetPath, capability, readOnly, volumeContext }) {
      if (capability.kind === 'block') throw new CsiError('INVALID_ARGUMENT', 'memory is no block device')
      const size = volumeContext['size'] ?? '64m'
      if (!/^\d+[kmg]?$/.test(size)) throw new CsiError('INVALID_ARGUMENT', `size ${size}: a number, then k, m or g`)
      await ensureTarget(targetPath, 'folder')
      await ensureMounted({ source: 'tmpfs', target: targetPath, type: 'tmpfs', options: [`size=${size}`], readOnly })
    },
    unpublish: async ({ targetPath }) => removeTarget(targetPath),
    stats: async ({ volumePath }) => ({ usage: await usageOf(volumePath) }),
  },
})

if (import.meta.main) await runDriver(tmpfs)
