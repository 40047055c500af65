// Unpacks layers off the event loop, in one worker that ends when it has been idle for a while.
import { Worker } from 'node:worker_threads'
import type { WorkerOptions } from 'node:worker_threads'
import type { Unpacked, UnpackTask } from './unpack.ts'

export interface Unpacker extends AsyncDisposable {
  /** One layer after the other. @throws Error also when the unpacker is closed meanwhile */
  unpack(task: UnpackTask): Promise<Unpacked>
}

/** How long an idle worker stays, in milliseconds: it costs some 10 MB. */
const idleMs = 5_000

/**
 * A program given on the command line says of what type it is; the worker is a file. What else it inherits is left to
 * Node unless it must be said: flags of V8, fine for a process, are refused of a worker.
 */
const isGiven = process.execArgv.some((option) => option.startsWith('--input-type'))
const workerOptions: WorkerOptions = isGiven
  ? { execArgv: process.execArgv.filter((option) => /^(--conditions|-C)=/.test(option)) }
  : {}

export function createUnpacker(): Unpacker {
  // Run from sources the file is TypeScript, from a build it is not.
  const file = new URL(`./unpack-worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url)
  let worker: Worker | undefined
  let idle: NodeJS.Timeout | undefined
  let line: Promise<unknown> = Promise.resolve()
  let isClosed = false

  const end = async (): Promise<void> => {
    clearTimeout(idle)
    const ending = worker
    worker = undefined
    await ending?.terminate()
  }

  const run = async (task: UnpackTask): Promise<Unpacked> => {
    if (isClosed) throw new Error('the unpacker is closed')
    clearTimeout(idle)
    const running = (worker ??= new Worker(file, workerOptions))
    running.ref() // a process does not end in the middle of a layer
    try {
      return await ask(running, task)
    } finally {
      running.unref()
      idle = setTimeout(() => void end(), idleMs).unref()
    }
  }

  const ask = async (running: Worker, task: UnpackTask): Promise<Unpacked> => {
    const answer = Promise.withResolvers<Unpacked>()
    const onMessage = ({ unpacked, error }: { unpacked?: Unpacked; error?: string }): void =>
      unpacked ? answer.resolve(unpacked) : answer.reject(new Error(error))
    const onExit = (code: number): void => {
      if (worker === running) worker = undefined
      answer.reject(new Error(isClosed ? 'the unpacker is closed' : `the unpacking thread ended with status ${code}`))
    }
    running.on('message', onMessage).on('error', answer.reject).on('exit', onExit)
    running.postMessage(task)
    try {
      return await answer.promise
    } finally {
      running.off('message', onMessage).off('error', answer.reject).off('exit', onExit)
    }
  }

  return {
    unpack: async (task) => {
      const done = line.then(async () => run(task))
      line = Promise.allSettled([done]) // the next comes after it, however it ended: its own caller is told
      return done
    },
    [Symbol.asyncDispose]: async () => {
      isClosed = true
      await end()
      await line
      clearTimeout(idle)
    },
  }
}
