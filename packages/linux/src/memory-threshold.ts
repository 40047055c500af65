// Being told by the kernel when a cgroup of v1 uses more than so much memory, or less again.
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { put } from './cgroup-files.ts'
import { call } from './libc.ts'
import { socketFromFd } from './sockets.ts'

const [EFD_CLOEXEC, EFD_NONBLOCK] = [0o2000000, 0o4000]

/** @see Documentation/admin-guide/cgroup-v1/memory.rst, memory thresholds */
export async function onMemoryThreshold(folder: string, bytes: bigint, crossed: () => void): Promise<Disposable> {
  const fd = call('eventfd', folder, 0, EFD_CLOEXEC | EFD_NONBLOCK)
  let usage: number | undefined
  try {
    usage = openSync(join(folder, 'memory.usage_in_bytes'), 'r')
    await put(folder, 'cgroup.event_control', `${fd} ${usage} ${bytes}`)
  } catch (error) {
    closeSync(fd)
    throw error
  } finally {
    // The kernel has what it needs once it was told.
    if (usage !== undefined) closeSync(usage)
  }
  const socket = socketFromFd(fd)
  socket.on('data', crossed).unref()
  return { [Symbol.dispose]: () => void socket.destroy() }
}
