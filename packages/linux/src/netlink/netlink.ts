// The network of a namespace: links and all that hangs on them. Needs root (CAP_NET_ADMIN). @see netlink(7)
import { createAccounting } from './accounting.ts'
import type { Accounting } from './accounting.ts'
import { createAddresses } from './addresses.ts'
import type { Addresses } from './addresses.ts'
import { createBridge } from './bridge.ts'
import type { Bridge } from './bridge.ts'
import { createConntrack } from './conntrack.ts'
import type { Conntrack } from './conntrack.ts'
import { createFeatures } from './features.ts'
import type { Features } from './features.ts'
import { createIpsets } from './ipsets.ts'
import type { Ipsets } from './ipsets.ts'
import { createIpvs } from './ipvs.ts'
import type { Ipvs } from './ipvs.ts'
import { createLinks } from './links.ts'
import type { Links } from './links.ts'
import { createNeighbours } from './neighbours.ts'
import type { Neighbours } from './neighbours.ts'
import { createNftables } from './nftables.ts'
import type { Nftables } from './nftables.ts'
import { createQdiscs } from './qdiscs.ts'
import type { Qdiscs } from './qdiscs.ts'
import { createRoutes, createRules } from './routes.ts'
import type { Routes, Rules } from './routes.ts'
import { NETLINK_ROUTE, openSocket } from './socket.ts'
import { createWatch } from './watch.ts'
import type { Watch } from './watch.ts'

/** What is refused is a LinuxError such as `EEXIST: create link cni0`, with the kernel's explanation where it has one. */
export interface Netlink extends Disposable {
  readonly links: Links
  readonly addresses: Addresses
  readonly routes: Routes
  readonly rules: Rules
  readonly neighbours: Neighbours
  readonly bridge: Bridge
  readonly qdiscs: Qdiscs
  readonly features: Features
  readonly conntrack: Conntrack
  readonly accounting: Accounting
  readonly nftables: Nftables
  readonly ipvs: Ipvs
  readonly ipsets: Ipsets
  readonly watch: Watch
}

/** Opens the network namespace of this process, or the one pinned at a path. @throws LinuxError */
export function openNetlink({ netns }: { netns?: string | undefined } = {}): Netlink {
  const socket = openSocket(NETLINK_ROUTE, netns)
  return {
    links: createLinks(socket),
    addresses: createAddresses(socket),
    routes: createRoutes(socket),
    rules: createRules(socket),
    neighbours: createNeighbours(socket),
    bridge: createBridge(socket),
    qdiscs: createQdiscs(socket),
    features: createFeatures(netns),
    conntrack: createConntrack(netns),
    accounting: createAccounting(netns),
    nftables: createNftables(netns),
    ipvs: createIpvs(netns),
    ipsets: createIpsets(netns),
    watch: createWatch(netns),
    [Symbol.dispose]: () => socket[Symbol.dispose](),
  }
}
