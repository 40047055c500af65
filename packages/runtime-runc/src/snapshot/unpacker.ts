// Unpacks layers off the event loop, some side by side.
import { availableParallelism } from 'node:os'
import type { Unpacked } from './entry-writer.ts'
import { defaultLimits } from './limits.ts'
import type { LayerLimits } from './limits.ts'
import type { UnpackTask } from './unpack.ts'
import { createUnpackThread } from './unpack-thread.ts'
import type { UnpackThread } from './unpack-thread.ts'

export interface UnpackerOptions {
  /** Layers that are unpacked side by side. Default: as many as there are processors, 4 at most. */
  threads?: number | undefined
  /** How long a layer may stand still, in milliseconds. Default 2 minutes. */
  stallMs?: number | undefined
  /** Those that are left out have their defaults. */
  limits?: Partial<LayerLimits> | undefined
}

export interface Unpacker extends AsyncDisposable {
  /**
   * Begins in the order of the calls, so a layer is to be asked for after those below it.
   * @param lowers answers folders of the layers below, topmost first; waited for only when the layer needs them
   * @throws Error also when the unpacker is closed meanwhile
   */
  unpack(task: UnpackTask, lowers: Promise<readonly string[]>): Promise<Unpacked>
}

const mostThreads = 4

export function createUnpacker({ threads, stallMs = 120_000, limits }: UnpackerOptions = {}): Unpacker {
  const free: UnpackThread[] = Array.from({ length: threads ?? Math.min(mostThreads, availableParallelism()) }, () =>
    createUnpackThread(stallMs),
  )
  const all = [...free]
  const waiting: ((thread: UnpackThread) => void)[] = []
  const running = new Set<Promise<unknown>>()
  let isClosed = false

  const take = async (): Promise<UnpackThread> => {
    const thread = free.pop() // the one that was last at work is still warm
    if (thread) return thread
    const { promise, resolve } = Promise.withResolvers<UnpackThread>()
    waiting.push(resolve)
    return promise
  }

  const give = (thread: UnpackThread): void => {
    const next = waiting.shift()
    if (next) next(thread)
    else free.push(thread)
  }

  const run = async (task: UnpackTask, lowers: Promise<readonly string[]>): Promise<Unpacked> => {
    const thread = await take()
    try {
      if (isClosed) throw new Error('the unpacker is closed')
      return await thread.run({ ...task, limits: { ...defaultLimits, ...limits } }, lowers)
    } catch (error) {
      throw isClosed ? new Error('the unpacker is closed', { cause: error }) : error
    } finally {
      give(thread)
    }
  }

  return {
    unpack: async (task, lowers) => {
      void Promise.allSettled([lowers]) // the thread is told, should it ask
      const done = run(task, lowers)
      running.add(done)
      void Promise.allSettled([done]).then(() => running.delete(done)) // each caller has its own failure
      return done
    },
    [Symbol.asyncDispose]: async () => {
      isClosed = true
      await Promise.all(all.map(async (thread) => thread.end()))
      await Promise.allSettled(running)
      await Promise.all(all.map(async (thread) => thread.end())) // and the timers of idle ones
    },
  }
}
