// Who the driver is.
import { equal, match, ok } from 'node:assert/strict'
import { IdentityService, NodeService } from '../gen/csi.ts'
import type { Cases } from './subject.ts'

export const identityCases: Cases = {
  'GetPluginInfo: a name that is one, and a version': async (session) => {
    const { name, vendorVersion } = await session.call(IdentityService.getPluginInfo, {})
    match(name, /^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$/)
    ok(vendorVersion !== '', 'vendor_version is empty')
  },
  'GetPluginCapabilities: each is of one kind': async (session) => {
    const { capabilities } = await session.call(IdentityService.getPluginCapabilities, {})
    for (const { service, volumeExpansion } of capabilities) {
      equal([service, volumeExpansion].filter(Boolean).length, 1, 'service or volume_expansion')
    }
  },
  'Probe: the driver is ready': async (session) => {
    const { ready } = await session.call(IdentityService.probe, {})
    ok(ready !== false, 'ready is false')
  },
  'NodeGetInfo: an id of at most 256 bytes, and a limit that is none or more': async (session) => {
    const { nodeId, maxVolumesPerNode } = await session.call(NodeService.nodeGetInfo, {})
    ok(nodeId !== '' && Buffer.byteLength(nodeId) <= 256, `node_id ${JSON.stringify(nodeId)}`)
    ok(maxVolumesPerNode >= 0n, `max_volumes_per_node ${maxVolumesPerNode}`)
  },
  'NodeGetCapabilities: each is named': async (session) => {
    const { capabilities } = await session.call(NodeService.nodeGetCapabilities, {})
    for (const { rpc } of capabilities) ok(rpc && rpc.type > 0, `rpc ${JSON.stringify(rpc)}`)
  },
}
