// Links whose other end is a program: tun (packets) and tap (frames). @see the kernel's Documentation/networking/tuntap.rst
import { closeSync, openSync } from 'node:fs'
import { call } from '../libc.ts'
import { inNamespace } from '../namespaces.ts'

const IFF = { TUN: 1, TAP: 2, MULTI_QUEUE: 0x100, NO_PI: 0x1000, VNET_HDR: 0x4000 }
const TUNSETIFF = 0x400454ca
const TUNSETPERSIST = 0x400454cb
const TUNSETOWNER = 0x400454cc
const TUNSETGROUP = 0x400454ce
const nameBytes = 16
/** struct ifreq */
const requestBytes = 40

export interface NewTap {
  name: string
  /** Default: tap. */
  mode?: 'tun' | 'tap'
  /** Whether several descriptors may be open at once. */
  multiQueue?: boolean
  /** Whether a virtio header precedes each packet. */
  vnetHeader?: boolean
  /** User and group that may open it without CAP_NET_ADMIN. */
  owner?: number
  group?: number
}

/** Makes a link that stays until it is deleted. @throws LinuxError; ENOENT or EACCES of /dev/net/tun */
export function makeTap(tap: NewTap, netns?: string): void {
  closeSync(openTap({ ...tap, persistent: true }, netns))
}

/**
 * Makes or opens a link and returns the descriptor that its packets are read from and written to.
 * @param netns path of the network namespace that it is made in; default: this process's
 */
export function openTap(
  { name, mode = 'tap', multiQueue = false, vnetHeader = false, owner, group, persistent = false }: OpenTapOptions,
  netns?: string,
): number {
  const request = Buffer.alloc(requestBytes)
  if (Buffer.byteLength(name) >= nameBytes) throw new RangeError(`${JSON.stringify(name)} is too long for a link`)
  request.write(name)
  const flags =
    IFF.NO_PI |
    (mode === 'tap' ? IFF.TAP : IFF.TUN) |
    (multiQueue ? IFF.MULTI_QUEUE : 0) |
    (vnetHeader ? IFF.VNET_HDR : 0)
  request.writeUInt16LE(flags, nameBytes)
  // The link is made in the namespace that the device was opened in.
  const open = (): number => openSync('/dev/net/tun', 'r+')
  const fd = netns === undefined ? open() : inNamespace('net', netns, open)
  try {
    call('ioctlWith', name, fd, TUNSETIFF, request)
    if (owner !== undefined) call('ioctl', name, fd, TUNSETOWNER, owner)
    if (group !== undefined) call('ioctl', name, fd, TUNSETGROUP, group)
    if (persistent) call('ioctl', name, fd, TUNSETPERSIST, 1)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

export interface OpenTapOptions extends NewTap {
  /** Whether it stays when its last descriptor is closed; default false. */
  persistent?: boolean
}
