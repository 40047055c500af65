#!/usr/bin/env node
// A CSI driver: inline volumes in memory, of the size that the pod asks for.
import { hostname } from 'node:os'
import { createDriver, CsiError, ensureMounted, ensureTarget } from '@nodelet/csi-node/sdk'
import { removeTarget, runDriver, usageOf } from '@nodelet/csi-node/sdk'
import type { Driver, NodeFunctions, StringMap } from '@nodelet/csi-node/sdk'

function sizeOf(attributes: StringMap): string {
  const size = attributes['size'] ?? '64m'
  if (/^\d+[kmg]?$/.test(size)) return size
  throw new CsiError('INVALID_ARGUMENT', `size ${size}: a number, then k, m or g`)
}

const publish: NodeFunctions['publish'] = async ({ targetPath, capability, readOnly, volumeContext }) => {
  if (capability.kind === 'block') throw new CsiError('INVALID_ARGUMENT', 'memory is no block device')
  const options = [`size=${sizeOf(volumeContext)}`]
  await ensureTarget(targetPath, 'folder')
  await ensureMounted({ source: 'tmpfs', target: targetPath, type: 'tmpfs', options, readOnly })
}

export const tmpfs: Driver = createDriver({
  name: 'tmpfs.csi.example.com',
  version: '1.0.0',
  node: {
    info: () => ({ nodeId: hostname() }),
    publish,
    unpublish: async ({ targetPath }) => removeTarget(targetPath),
    stats: async ({ volumePath }) => ({ usage: await usageOf(volumePath) }),
  },
})

if (import.meta.main) {
  const [rootDir = '/var/lib/kubelet'] = process.argv.slice(2)
  await runDriver(tmpfs, { rootDir })
}
