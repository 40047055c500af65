// Whole frames of a link, past the kernel's own protocols. @see packet(7)
import { closeSync } from 'node:fs'
import type { Socket } from 'node:net'
import { call } from './libc.ts'
import { inNamespace } from './namespaces.ts'
import { socketFromFd } from './sockets.ts'

const AF_PACKET = 17
const SOCK_RAW = 3
const [SOCK_CLOEXEC, SOCK_NONBLOCK] = [0o2000000, 0o4000]
const SOL_SOCKET = 1
const SO_ATTACH_FILTER = 26
/** Of struct sock_fprog, on the 64-bit machines that we run on. */
const programBytes = 16
const instructionBytes = 8

/** One instruction of a classic BPF program. @see the kernel's networking/filter.rst */
export type FilterInstruction = readonly [code: number, ifTrue: number, ifFalse: number, value: number]

export interface FramesOptions {
  /** Path of the pinned network namespace that the link is in; default: this process's. */
  netns?: string | undefined
  /** The link's index. */
  link: number
  /** EtherType of the frames that are read, for instance 0x0800 for IPv4. */
  protocol: number
  /** Says in the kernel which frames are read; default: all. */
  filter?: readonly FilterInstruction[]
}

/**
 * Each `data` event is a frame from its Ethernet header on, and so is each write that waited for the one before. The stream
 * fails when the link goes down. Needs root; while it is open the namespace stays.
 * @throws LinuxError
 */
export function openFrames({ netns, link, protocol, filter = [] }: FramesOptions): Socket {
  const path = `link ${link}`
  // Of protocol 0, it reads nothing before the filter is there.
  const open = (): number => call('socket', path, AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
  const fd = netns === undefined ? open() : inNamespace('net', netns, open)
  try {
    if (filter.length > 0) {
      const program = { length: filter.length, instructions: encodeFilter(filter) }
      call('attachFilter', path, fd, SOL_SOCKET, SO_ATTACH_FILTER, program, programBytes)
    }
    const address = Buffer.alloc(20) // struct sockaddr_ll
    address.writeUInt16LE(AF_PACKET, 0)
    address.writeUInt16BE(protocol, 2)
    address.writeInt32LE(link, 4)
    call('bind', path, fd, address, address.length)
    return socketFromFd(fd)
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function encodeFilter(filter: readonly FilterInstruction[]): Buffer {
  const bytes = Buffer.alloc(filter.length * instructionBytes) // struct sock_filter
  for (const [index, [code, ifTrue, ifFalse, value]] of filter.entries()) {
    const at = index * instructionBytes
    bytes.writeUInt16LE(code, at)
    bytes.writeUInt8(ifTrue, at + 2)
    bytes.writeUInt8(ifFalse, at + 3)
    bytes.writeUInt32LE(value, at + 4)
  }
  return bytes
}
