import { bandwidth } from './bandwidth/bandwidth.ts'
import { bridge } from './bridge/bridge.ts'
import { dhcp } from './dhcp/dhcp.ts'
import { hostLocal } from './host-local/host-local.ts'
import { loopback } from './loopback/loopback.ts'
import { portmap } from './portmap/portmap.ts'
import { staticIpam } from './static/static.ts'
import type { DefinedPlugin } from '../sdk/define-plugin.ts'

/** The plugins that come with this package. */
export const standardPlugins: readonly DefinedPlugin[] = [
  loopback,
  bridge,
  hostLocal,
  staticIpam,
  dhcp,
  portmap,
  bandwidth,
]
