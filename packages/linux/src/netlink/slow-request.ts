// One request that the kernel may take long over: deleting a veth waits for other CPUs, up to 50 ms.
import { constants } from 'node:os'
import { LinuxError } from '../errors.ts'
import { call, callSlowly } from '../libc.ts'
import { inNamespace } from '../namespaces.ts'

const AF_NETLINK = 16
const SOCK_RAW_CLOEXEC = 0x8_0003
const REQUEST_ACK = 5
const headSize = 16
const errnoNames = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]))

/** Sends and waits for the answer on another thread. @throws LinuxError */
export async function requestSlowly(
  netns: string | undefined,
  type: number,
  what: string,
  body: Buffer,
): Promise<void> {
  const open = (): number => call('socket', 'netlink', AF_NETLINK, SOCK_RAW_CLOEXEC, 0)
  const fd = netns === undefined ? open() : inNamespace('net', netns, open)
  try {
    const head = Buffer.alloc(headSize)
    head.writeUInt32LE(headSize + body.length, 0)
    head.writeUInt16LE(type, 4)
    head.writeUInt16LE(REQUEST_ACK, 6)
    head.writeUInt32LE(1, 8)
    const request = Buffer.concat([head, body])
    if ((await callSlowly('send', fd, request, request.length, 0)) < 0) throw new LinuxError('EIO', 'netlink', what)
    const answer = Buffer.alloc(4096)
    if ((await callSlowly('recv', fd, answer, answer.length, 0)) < headSize + 4)
      throw new LinuxError('EIO', 'netlink', what)
    const errno = -answer.readInt32LE(headSize)
    if (errno !== 0) throw new LinuxError(errnoNames.get(errno) ?? `errno ${errno}`, 'netlink', what)
  } finally {
    call('close', what, fd)
  }
}
