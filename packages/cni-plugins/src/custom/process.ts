// The process of one file or package: started when it is needed, and again after a fault.
import { CniError, cniCode } from '../errors.ts'
import { patienceMs } from '../libcni/program.ts'
import type { CniLog } from '../types.ts'
import type { PluginCall } from './calls.ts'
import { startLife } from './life.ts'
import type { Life } from './life.ts'
import type { Described, PluginSource } from './messages.ts'

export interface ProcessOptions {
  /** Path of the network namespace that it starts in; default: this process's. */
  hostNetns?: string | undefined
  log: CniLog
  /** How long the code may take until it is loaded, in milliseconds; default 15,000. */
  loadLimitMs?: number | undefined
  /** How long a call may take when the caller sets no limit, in milliseconds; default 120,000. */
  callLimitMs?: number | undefined
  /** After so long without a call it is ended, in milliseconds; default 60,000. */
  idleMs?: number | undefined
}

export interface PluginProcess {
  /** The plugins that are in it. @throws CniError telling why it cannot be loaded */
  describe(): Promise<readonly Described[]>
  /** @throws CniError telling how the process failed meanwhile; the next call is to a new one. */
  call: Life['call']
  close(): void
}

export function openPluginProcess(source: PluginSource, options: ProcessOptions): PluginProcess {
  const { loadLimitMs = 15_000, callLimitMs = patienceMs, idleMs = 60_000 } = options
  let life: Life | undefined
  let idle: NodeJS.Timeout | undefined
  let uses = 0
  let isClosed = false

  const use = async <T>(work: (life: Life) => Promise<T>): Promise<T> => {
    if (isClosed) throw new CniError(cniCode.internal, 'closed')
    clearTimeout(idle)
    uses += 1
    try {
      if (!life || life.isOver) life = startLife(source, options)
      return await work(life)
    } finally {
      uses -= 1
      if (uses === 0 && !isClosed) idle = setTimeout(() => life?.end(), idleMs)
    }
  }

  return {
    describe: async () =>
      use(async (running) => {
        const late = new CniError(cniCode.tryAgain, `not loaded within ${loadLimitMs / 1000} s, and was killed`)
        const limit = setTimeout(() => running.end(late), loadLimitMs)
        try {
          return await running.ready
        } finally {
          clearTimeout(limit)
        }
      }),
    call: async (call: PluginCall, signal) => {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(callLimitMs)])
      return use(async (running) => running.call(call, limit))
    },
    close: () => {
      isClosed = true
      clearTimeout(idle)
      life?.end()
    },
  }
}
