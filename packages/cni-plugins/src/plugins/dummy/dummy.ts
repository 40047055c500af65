// dummy: a link that leads nowhere, for addresses that are only the pod's.
import { z } from 'zod'
import { attachLink, checkAttached, detachLink } from '../../interface/attach.ts'
import { checked } from '../../checked.ts'
import { common } from '../../interface/config.ts'
import { byIpam } from '../../interface/ipam.ts'
import { needing } from '../../kernel-feature.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin } from '../../sdk/define-plugin.ts'

const schema = z.object({ ipam: common.ipam, dns: common.dns })

export const dummy: DefinedPlugin = definePlugin<z.output<typeof schema>>({
  name: 'dummy',
  config: (config) => checked('dummy', schema, config),
  add: async (call, host, signal) =>
    attachLink(call, host, signal, {
      make: async (name, inside) => void (await needing('dummy', inside.links.add({ kind: 'dummy', name }))),
    }),
  del: detachLink,
  check: async (call, host, signal) => void (await checkAttached(call, host, signal, 'dummy')),
  ...byIpam,
})
