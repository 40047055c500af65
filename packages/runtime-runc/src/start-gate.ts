// The FIFO at which a created container's program waits: using it is all that the `start` of runc and crun does.
import { closeSync, constants, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { onProcessEnd } from '@nodelet/linux'
import { isAlive } from './pids.ts'
import type { ProcessRef } from './pids.ts'

/** How the program waits: it writes a byte, which somebody is to read, or it reads one. */
export type StartGate = 'reads' | 'writes'

/** Which program waits, and how long it may take to write its byte, in milliseconds: a busy machine is slow. */
export interface AtGate {
  init?: ProcessRef | undefined
  limitMs: number
}

/** How programs wait that a runtime starts which says this of its version; undefined for one that only itself knows. */
export function startGateOf(version: string): StartGate | undefined {
  const [name] = version.split(' ', 1)
  return name === 'runc' ? 'writes' : name === 'crun' ? 'reads' : undefined
}

/**
 * Lets the program go that waits at a FIFO, which is then removed, as the OCI runtime's own start does: one process less
 * for each container. False when there is no such FIFO, or nobody waits at it, as when the program `init` has ended: the
 * OCI runtime knows why.
 *
 * @throws Error when the program does not come to the gate in time
 */
export async function openStartGate(path: string, kind: StartGate, who: AtGate): Promise<boolean> {
  const mode = kind === 'writes' ? constants.O_RDONLY : constants.O_WRONLY
  let fd: number
  try {
    fd = openSync(path, mode | constants.O_NONBLOCK) // does not wait
  } catch (error) {
    // Not there, or nobody reads.
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENXIO')) return false
    throw error
  }
  if (kind === 'writes') return comes(fd, path, who)
  try {
    rmSync(path)
    return writeSync(fd, Buffer.alloc(1)) === 1
  } finally {
    closeSync(fd)
  }
}

async function comes(fd: number, path: string, { init, limitMs }: AtGate): Promise<boolean> {
  const gate = new Socket({ fd, readable: true, writable: false })
  const came = Promise.withResolvers<boolean>()
  gate.once('data', () => came.resolve(true))
  gate.once('end', () => came.resolve(false))
  gate.once('error', came.reject)
  // One that has ended before it came never will, and the FIFO does not tell; a short program comes and ends at once.
  const ended = (): void => came.resolve(hasByte(fd))
  using _end = init && onProcessEnd(init.pid, ended)
  if (init && !isAlive(init)) ended()
  const timer = setTimeout(() => came.reject(new Error(`nobody came to ${path} in ${limitMs} ms`)), limitMs)
  try {
    const isThere = await came.promise
    if (isThere) rmSync(path)
    return isThere
  } finally {
    clearTimeout(timer)
    gate.destroy()
  }
}

function hasByte(fd: number): boolean {
  try {
    return readSync(fd, Buffer.alloc(1)) === 1
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return false
    throw error
  }
}
