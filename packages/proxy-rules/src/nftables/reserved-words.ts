// Words of nft's language that it does not take for the name of an interface: those it is refused with by nft 1.0.6, and newer ones.

/** @see nft scanner.l */
const words =
  'accept add ah all and arp auto-merge bridge cgroup chain comment comp constant continue counter cpu create ct day dccp define ' +
  'delete describe destroy device devices drop dst dup dynamic ecn egress element elements eq esp ether exists expires export exthdr ' +
  'fib flags flow flowtable flush frag fwd gc-interval ge geneve get goto gre gretap gt handle hbh hook hour ibriport ibrname icmp ' +
  'icmpv6 igmp iif iifgroup iifname iiftype import in include index inet insert interval ip ip6 ipsec jhash jump last le limit list ' +
  'log lshift lt map mark masquerade meta meter mh missing monitor ne netdev nftrace not notrack numgen obriport obrname offload oif ' +
  'oifgroup oifname oiftype or osf out performance pkttype policy position priority queue quota random redefine redirect reject rename ' +
  'replace reset return rshift rt rt0 rt2 rtclassid rule ruleset sctp secmark set size skgid skuid snat dnat socket srh symhash ' +
  'synproxy table tcp th time timeout tproxy tunnel type typeof udp udplite undefine update vlan vmap vni vxlan xor xt'

export const reservedWords: ReadonlySet<string> = new Set(words.split(' '))
