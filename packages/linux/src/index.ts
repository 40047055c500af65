export { isMountPoint } from './mount-point.ts'
export { attachLoop, detachLoop, loopsOf, loopsOfFile, readLoops, resizeLoop } from './loop.ts'
export type { LoopDevice, LoopOptions } from './loop.ts'
export { limitProject, projectUse, setProject, whyNoProjectQuota } from './project-quota.ts'
export type { ProjectUse } from './project-quota.ts'
export { mount, mountSlowly, unmount, unmountIfMounted, unmountSlowly } from './mount.ts'
export type { MountOptions } from './mount.ts'
export { parseMountInfo, readMountInfo } from './mountinfo.ts'
export type { MountInfo } from './mountinfo.ts'
export { partMounts } from './part-mounts.ts'
export { inNamespace, isNamespacePinned, pinNamespaces, unpinNamespace } from './namespaces.ts'
export type { NamespaceKind, PinOptions } from './namespaces.ts'
export { mountIdMapped } from './id-mapped-mount.ts'
export type { IdMappedMountOptions } from './id-mapped-mount.ts'
export { inUserNamespace, pinOwnedNamespaces, sameIdMappings } from './user-namespace.ts'
export type { IdMapping, IdMappings, OwnedPinOptions } from './user-namespace.ts'
export { fileLimit, setFileLimit } from './file-limit.ts'
export type { FileLimit } from './file-limit.ts'
export { LinuxError } from './errors.ts'
export { lockFile } from './lock-file.ts'
export { lockFolder } from './lock-folder.ts'
export { endWithParent } from './parent.ts'
export { onProcessEnd } from './pidfd.ts'
export { pageBytes } from './page-size.ts'
export { makeNode } from './node.ts'
export { setTimes } from './times.ts'
export { getXattr, setXattr } from './xattr.ts'
export { openCgroups } from './cgroup.ts'
export { cpuWeight } from './cgroup-v2.ts'
export type { CgroupDevice, CgroupLimits, CgroupPressure, Cgroups, CgroupStats, HugePages } from './cgroup.ts'
export { addressBytes, addressFamily, addressText, isWithin, parsePrefix } from './netlink/ip.ts'
export type { Family, Prefix } from './netlink/ip.ts'
export { openNetlink } from './netlink/netlink.ts'
export type { Netlink } from './netlink/netlink.ts'
export type { NetlinkPacket } from './netlink/socket.ts'
export type { Accounting } from './netlink/accounting.ts'
export type { AddressFilter, Addresses } from './netlink/addresses.ts'
export type { Bridge } from './netlink/bridge.ts'
export type { Conntrack } from './netlink/conntrack.ts'
export type { Features } from './netlink/features.ts'
export type { IpsetChange, Ipsets } from './netlink/ipsets.ts'
export type { Ipvs, IpvsChange, IpvsRefusal } from './netlink/ipvs.ts'
export type { LinkFilter, Links } from './netlink/links.ts'
export type { NeighbourFilter, Neighbours } from './netlink/neighbours.ts'
export type { NftFamily, Nftables } from './netlink/nftables.ts'
export type { Qdiscs } from './netlink/qdiscs.ts'
export type { Routes, Rules } from './netlink/routes.ts'
export type { NetworkChange, Watch } from './netlink/watch.ts'
export { openTap } from './netlink/tap.ts'
export type { NewTap, OpenTapOptions } from './netlink/tap.ts'
export type { Account } from './netlink/messages/accounting.ts'
export type { Address, AddressFlag, NewAddress, Scope } from './netlink/messages/address.ts'
export type { BridgePort } from './netlink/messages/bridge-port.ts'
export type { BridgeVlan, PortVlans } from './netlink/messages/bridge-vlan.ts'
export type { Feature } from './netlink/messages/feature.ts'
export type { Redirect } from './netlink/messages/filter.ts'
export type { Flow, FlowFilter, FlowProtocol, FlowTuple } from './netlink/messages/flow.ts'
export type {
  Born,
  Link,
  LinkChange,
  LinkRef,
  LinkSettings,
  LinkStatistics,
  NetnsRef,
  NewLink,
  NewPeer,
} from './netlink/messages/link.ts'
export type { Ipset, ListedIpset } from './netlink/messages/ipset.ts'
export { canonicalEntry, type IpsetType } from './netlink/messages/ipset-entry.ts'
export type { LinkDetails, VlanProtocol } from './netlink/messages/link-kinds.ts'
export type { ForwardingEntry, Neighbour, NeighbourState } from './netlink/messages/neighbour.ts'
export type { NewQdisc, Qdisc, QdiscDetails } from './netlink/messages/qdisc.ts'
export type { NewRoute, NextHop, Route, RouteFilter, RouteProtocol, RouteType } from './netlink/messages/route.ts'
export type { Rule, RuleAction } from './netlink/messages/rule.ts'
export type {
  Forwarding,
  IpvsTimeouts,
  NewRealServer,
  RealServer,
  RealServerKey,
  VirtualProtocol,
  VirtualServer,
  VirtualServerKey,
} from './netlink/messages/virtual-server.ts'
export { followKernelLog } from './kernel-log.ts'
export type { KernelLogOptions, KernelRecord } from './kernel-log.ts'
export { notifyService } from './notify.ts'
export { openFrames } from './frames.ts'
export type { FilterInstruction, FramesOptions } from './frames.ts'
export { openPty } from './pty.ts'
export type { Pty, TerminalSize } from './pty.ts'
export { connectPackets, tcpSocket } from './sockets.ts'
export { finished, startProgram } from './spawn.ts'
export type { Program, ProgramOptions, ProgramStdio } from './spawn.ts'
export type { Ended } from './children.ts'
