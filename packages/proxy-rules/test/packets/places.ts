// Who is where in the world of the packet tests, in both families.
import type { IPFamily } from '@nodelet/proxy-rules'

export type PerFamily = Record<IPFamily, string>
export const families = ['IPv4', 'IPv6'] as const

/** The network namespaces: our node, pods on it, another node with its pods, and the world outside. */
export const rooms = ['node', 'a', 'b', 'c', 'far', 'outside'] as const
export type Room = (typeof rooms)[number]

interface Site {
  room: Room
  address: PerFamily
  /** The interface of our node that its packets come in by; none: they come from the node itself. */
  inputInterface?: string
}

const both = (IPv4: string, IPv6: string): PerFamily => ({ IPv4, IPv6 })
const pod = (room: Room, n: number): Site => ({
  room,
  address: both(`10.244.1.${n}`, `fd44:1::${n}`),
  inputInterface: 'cni0',
})
const beyond = (room: Room, IPv4: string, IPv6: string): Site => ({
  room,
  address: both(IPv4, IPv6),
  inputInterface: 'uplink',
})

/** Whoever sends or answers. `a`, `b`, `c` are pods of our node; `x`, `y` pods of the `other` one; the rest are outside. */
export const places = {
  a: pod('a', 2),
  b: pod('b', 3),
  c: pod('c', 4),
  node: { room: 'node', address: both('192.0.2.1', '2001:db8::1') },
  x: beyond('far', '10.244.2.2', 'fd44:2::2'),
  y: beyond('far', '10.244.2.3', 'fd44:2::3'),
  other: beyond('far', '192.0.2.2', '2001:db8::2'),
  client: beyond('outside', '198.51.100.7', '2001:db8:c::7'),
  /** Of another network than the client. */
  stranger: beyond('outside', '203.0.114.7', '2001:db8:d::7'),
  /** A server of our node that only the node itself should come to. */
  loopback: { room: 'node', address: both('127.0.0.1', '::1') },
  /** Its packets get the mark 0x4000 when they come to our node. */
  marked: beyond('outside', '198.51.100.99', '2001:db8:c::99'),
} as const satisfies Record<string, Site>

/** One of the many pods of the `other` node that have one server together, for TCP alone. */
export type HerdPlace = `herd ${number}`
export type Place = keyof typeof places | HerdPlace

export const herdRange = both('10.244.128.0/17', 'fd44:80::/64')
export const largestHerd = 1001
/** The first so many of them. */
export const herd = (count: number): HerdPlace[] =>
  Array.from({ length: count }, (_, at): HerdPlace => `herd ${at + 1}`)

function herdSite(place: HerdPlace): Site {
  const n = Number(place.slice('herd '.length))
  return beyond('far', `10.244.${128 + (n >> 8)}.${n & 255}`, `fd44:80::${n.toString(16)}`)
}

const isOfHerd = (place: Place): place is HerdPlace => place.startsWith('herd ')
export const site = (place: Place): Site => (isOfHerd(place) ? herdSite(place) : places[place])

const names = new Map(
  [...(Object.keys(places) as Place[]), ...herd(largestHerd)].flatMap((place) =>
    Object.values(site(place).address).map((address) => [address, place] as const),
  ),
)
/** Whose address it is; undefined when it is nobody's of these. */
export const placeAt = (address: string): Place | undefined => names.get(address)

/** On our node. */
export const isHere = (place: Place): boolean => !['far', 'outside'].includes(site(place).room)

/** Many clients, each with an address of its own. */
export const crowd: readonly PerFamily[] = Array.from({ length: 24 }, (_, n) =>
  both(`198.51.100.${n + 129}`, `2001:db8:c:1::${n + 1}`),
)

export const nodeSecond = both('198.18.0.1', '2001:db8:1::1')
export const podGateway = both('10.244.1.1', 'fd44:1::1')
export const router = both('192.0.2.254', '2001:db8::fe')
/** All that masquerading may write. */
export const nodeAddresses = (family: IPFamily): string[] =>
  [places.node.address, nodeSecond, podGateway].map((address) => address[family])

/** Where servers answer in each place: TCP and UDP. */
export const serverPorts = [8080, 8081] as const
/** Where the herd's one server is. */
export const herdPort = 8082

// Each row has addresses and ports of its own, so that many can be loaded at once.
export const clusterIP = (row: number): PerFamily => both(`10.96.0.${row}`, `fd96::${row}`)
export const externalIP = (row: number): PerFamily => both(`203.0.113.${row}`, `2001:db8:e::${row}`)
export const vip = (row: number): PerFamily => both(`198.19.0.${row}`, `2001:db8:f::${row}`)
export const nodePort = (row: number): number => 30_000 + row
export const healthPort = (row: number): number => 31_000 + row
export const servicePort = 80
export const serviceRanges = both('10.96.0.0/16', 'fd96::/112')
/** Of which no row has an address. */
export const unusedClusterIP = both('10.96.0.254', 'fd96::ffff')
