// The ends of children that Node does not know of.
import { constants } from 'node:os'
import { call } from './libc.ts'

/** How a program ended: with a code, or by a signal. */
export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface Child {
  ended: Promise<Ended>
  /** False when it has ended. */
  kill(signal: NodeJS.Signals): boolean
  /** This process may end before it. */
  unref(): void
}

const noHang = 1
/** Of two names for one the first, which is the usual one. */
const signalNames = new Map(
  Object.entries(constants.signals)
    .toReversed()
    .map(([name, number]) => [number, name as NodeJS.Signals]),
)
const children = new Map<number, (ended: Ended) => void>()
/** Children that are waited for. */
const held = new Set<number>()
/** Keeps the process running while there are some: a signal's listener alone does not. */
let hold: NodeJS.Timeout | undefined
const longestTimer = 2 ** 31 - 1

/** Watches a child of this process, which must not have been waited for. Node waits only for its own. */
export function watchChild(pid: number): Child {
  if (children.size === 0) process.on('SIGCHLD', reap)
  if (held.size === 0) hold = setInterval(() => {}, longestTimer)
  held.add(pid)
  const ended = Promise.withResolvers<Ended>()
  children.set(pid, ended.resolve)
  reap() // one that has ended before anybody listened
  return {
    ended: ended.promise,
    kill: (signal) => children.has(pid) && process.kill(pid, signal),
    unref: () => letGo(pid),
  }
}

/** One signal may stand for several ends. */
function reap(): void {
  const status = Buffer.alloc(4)
  for (const [pid, resolve] of children) {
    if (call('waitpid', `process ${pid}`, pid, status, noHang) === 0) continue
    children.delete(pid)
    letGo(pid)
    resolve(endOf(status.readInt32LE(0)))
  }
  if (children.size === 0) process.off('SIGCHLD', reap)
}

function letGo(pid: number): void {
  if (held.delete(pid) && held.size === 0) clearInterval(hold)
}

function endOf(status: number): Ended {
  const by = status & 0x7f
  return by === 0
    ? { code: (status >> 8) & 0xff, signal: null }
    : { code: null, signal: signalNames.get(by) ?? 'SIGKILL' }
}
