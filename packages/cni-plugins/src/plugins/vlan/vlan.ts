// vlan: a link whose frames are tagged on a link of this machine.
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { attachLink, checkAttached, detachLink } from '../../interface/attach.ts'
import { checked } from '../../checked.ts'
import { common } from '../../interface/config.ts'
import { byIpam } from '../../interface/ipam.ts'
import { checkMaster, limitMtu, masterKeys, masterStatus, onMaster } from '../../interface/master.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin } from '../../sdk/define-plugin.ts'

const lastId = 4094

const schema = z.object({
  ...masterKeys,
  master: common.linkName,
  vlanId: z.number().int().min(0).max(lastId).default(0),
  ipam: common.ipam,
  dns: common.dns,
})

export const vlan: DefinedPlugin = definePlugin<z.output<typeof schema>>({
  name: 'vlan',
  config: (config) => checked('vlan', schema, config),
  async add(call, host, signal) {
    const make = onMaster(call, host, { kind: 'vlan', id: call.config.vlanId }, limitMtu(call))
    return attachLink(call, host, signal, { make })
  },
  // A master has each VLAN once.
  del: async (call, host, signal) => detachLink(call, host, signal, true),
  async check(call, host, signal) {
    const { vlanId, mtu } = call.config
    const link = await checkAttached(call, host, signal, 'vlan')
    const wrong = (what: string): CniError => new CniError(cniCode.internal, `vlan: ${link.name} has ${what}`)
    const id = link.details?.kind === 'vlan' ? link.details.id : undefined
    if (id !== vlanId) throw wrong(`the VLAN ${id}, not ${vlanId}`)
    if (mtu !== 0 && mtu !== link.mtu) throw wrong(`the MTU ${link.mtu}, not ${mtu}`)
    await checkMaster(call, host, link)
  },
  gc: byIpam.gc,
  status: masterStatus,
})
