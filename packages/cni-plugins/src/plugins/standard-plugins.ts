import { bandwidth } from './bandwidth/bandwidth.ts'
import { bridge } from './bridge/bridge.ts'
import { dhcp } from './dhcp/dhcp.ts'
import { dummy } from './dummy/dummy.ts'
import { hostDevice } from './host-device/host-device.ts'
import { firewall } from './firewall/firewall.ts'
import { hostLocal } from './host-local/host-local.ts'
import { ipvlan } from './ipvlan/ipvlan.ts'
import { loopback } from './loopback/loopback.ts'
import { macvlan } from './macvlan/macvlan.ts'
import { portmap } from './portmap/portmap.ts'
import { staticIpam } from './static/static.ts'
import { ptp } from './ptp/ptp.ts'
import { tap } from './tap/tap.ts'
import { vlan } from './vlan/vlan.ts'
import { sbr } from './sbr/sbr.ts'
import { tuning } from './tuning/tuning.ts'
import { vrf } from './vrf/vrf.ts'
import type { DefinedPlugin } from '../sdk/define-plugin.ts'

/** The plugins that come with this package. */
export const standardPlugins: readonly DefinedPlugin[] = [
  loopback,
  bridge,
  ptp,
  macvlan,
  ipvlan,
  vlan,
  dummy,
  tap,
  hostDevice,
  hostLocal,
  staticIpam,
  dhcp,
  portmap,
  bandwidth,
  firewall,
  tuning,
  sbr,
  vrf,
]
