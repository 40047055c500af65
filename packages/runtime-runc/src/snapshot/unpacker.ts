// Unpacks layers off the event loop, in one worker that ends when it has been idle for a while.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Unpacked, UnpackTask } from './unpack.ts'

export interface Unpacker extends AsyncDisposable {
  unpack(task: UnpackTask): Promise<Unpacked>
}

/** How long an idle worker stays, in milliseconds: it costs some 10 MB. */
const idleMs = 5_000

export function createUnpacker(): Unpacker {
  // Run from sources the file is TypeScript, from a build it is not.
  const file = new URL(`./unpack-worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url)
  let worker: Worker | undefined
  let idle: NodeJS.Timeout | undefined
  let line: Promise<unknown> = Promise.resolve()

  const end = async (): Promise<void> => {
    clearTimeout(idle)
    const ending = worker
    worker = undefined
    await ending?.terminate()
  }

  const run = async (task: UnpackTask): Promise<Unpacked> => {
    clearTimeout(idle)
    if (!worker) {
      worker = new Worker(file)
      worker.on('error', () => (worker = undefined)) // the waiting task is told by `once`
    }
    try {
      const answer = once(worker, 'message')
      worker.postMessage(task)
      const [{ unpacked, error }] = (await answer) as [{ unpacked?: Unpacked; error?: string }]
      if (!unpacked) throw new Error(error)
      return unpacked
    } finally {
      idle = setTimeout(() => void end(), idleMs).unref()
      worker?.unref()
    }
  }

  return {
    unpack: async (task) => {
      const done = line.then(async () => run(task))
      line = done.catch(() => undefined) // each caller has its own failure
      return done
    },
    [Symbol.asyncDispose]: async () => {
      await line
      await end()
    },
  }
}
