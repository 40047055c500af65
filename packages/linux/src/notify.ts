// Telling the service manager that started this process how it goes: the sd_notify protocol.
import { closeSync, writeSync } from 'node:fs'
import { call } from './libc.ts'
import { unixAddress } from './sockets.ts'

const [AF_UNIX, SOCK_DGRAM, SOCK_CLOEXEC, SOCK_NONBLOCK] = [1, 2, 0o2000000, 0o4000]

/**
 * Sends a state such as `READY=1` or `STOPPING=1` to `NOTIFY_SOCKET`; without one nobody is to be told.
 *
 * @param socket Default: of the environment.
 * @returns whether somebody was told
 * @throws LinuxError when nobody listens there; EAGAIN when who listens has too much unread
 */
export function notifyService(state: string, socket: string | undefined = process.env['NOTIFY_SOCKET']): boolean {
  if (!socket) return false
  const address = unixAddress(socket)
  const fd = call('socket', socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
  try {
    call('connect', socket, fd, address, address.length)
    writeSync(fd, state)
    return true
  } finally {
    closeSync(fd)
  }
}
