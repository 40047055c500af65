// macvlan: links with MACs of their own on a link of this machine.
import { z } from 'zod'
import { attachLink, checkAttached, detachLink } from '../../interface/attach.ts'
import { checked } from '../../checked.ts'
import { common } from '../../interface/config.ts'
import { u32 } from '../../fields.ts'
import { byIpam } from '../../interface/ipam.ts'
import { wantedMac } from '../../interface/mac.ts'
import { checkMaster, limitMtu, masterKeys, masterStatus, onMaster } from '../../interface/master.ts'
import { checkMode, modeKey } from '../../interface/mode.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin } from '../../sdk/define-plugin.ts'

const schema = z.object({
  ...masterKeys,
  mode: modeKey('macvlan', ['bridge', 'private', 'vepa', 'passthru']),
  /** 0: the kernel's. */
  bcqueuelen: u32.default(0),
  ipam: common.ipam.optional(),
  dns: common.dns,
})

export const macvlan: DefinedPlugin = definePlugin<z.output<typeof schema>>({
  name: 'macvlan',
  config: (config) => checked('macvlan', schema, config),
  async add(call, host, signal) {
    const { mode, bcqueuelen } = call.config
    const mac = wantedMac('macvlan', call.request)
    const settings = {
      kind: 'macvlan',
      mode,
      ...(bcqueuelen && { broadcastQueueLength: bcqueuelen }),
      ...(mac !== undefined && { mac }),
    } as const
    const make = onMaster(call, host, settings, limitMtu(call))
    return attachLink(call, host, signal, { make, announces: [4, 6] })
  },
  // A link of passthru has the master for itself.
  del: async (call, host, signal) => detachLink(call, host, signal, call.config.mode === 'passthru'),
  async check(call, host, signal) {
    const link = await checkAttached(call, host, signal, 'macvlan')
    checkMode(link, 'macvlan', call.config.mode)
    await checkMaster(call, host, link)
  },
  gc: byIpam.gc,
  status: masterStatus,
})
