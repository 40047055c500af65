// Being told at once of the end of processes that are not our children. Takes a descriptor each, and no thread.
import { LinuxError } from './errors.ts'
import { call } from './libc.ts'
import { socketFromFd } from './sockets.ts'

const SYS_PIDFD_OPEN = 434

/**
 * Calls back once when the process has ended, or soon if it has already; a zombie has ended. Disposing stops that. Does
 * not keep this process alive. Numbers are given out again: check after this call that it still is the process meant.
 *
 * @throws LinuxError when the kernel cannot watch it: too old (before 5.3), or out of descriptors
 */
export function onProcessEnd(pid: number, ended: () => void): Disposable {
  let fd: number
  try {
    fd = call('syscall', `pidfd_open ${pid}`, SYS_PIDFD_OPEN, pid, 0)
  } catch (error) {
    if (!(error instanceof LinuxError) || error.code !== 'ESRCH') throw error
    const soon = setImmediate(ended)
    return { [Symbol.dispose]: () => clearImmediate(soon) }
  }
  // It becomes readable when the process ends, and reading it is then refused: that refusal is the news.
  const socket = socketFromFd(fd, { buffer: Buffer.alloc(1), callback: () => true })
  let told = false
  const tell = (): void => {
    if (!told) ended()
    told = true
  }
  socket.on('error', tell).on('end', tell).unref()
  socket.resume()
  return {
    [Symbol.dispose]: () => {
      told = true
      socket.destroy()
    },
  }
}
