// One thread that unpacks layers, one after the other, and ends when it has been idle for a while.
import { MessageChannel, Worker } from 'node:worker_threads'
import type { MessagePort, WorkerOptions } from 'node:worker_threads'
import type { Unpacked } from './entry-writer.ts'
import type { UnpackTask } from './unpack.ts'

/** What the thread is sent. It stops at the gate when it needs the layers below, and reads of the port which they are. */
export interface UnpackMessage {
  task: UnpackTask
  gate: SharedArrayBuffer
  lowers: MessagePort
}

export type LowersAnswer = { lowers: readonly string[] } | { error: string }

/** Places of the gate: whether the answer is there, how much was unpacked, and whether the thread waits. */
export const gateAt = { isOpen: 0, progress: 1, waits: 2 } as const

export interface UnpackThread {
  /**
   * @param lowers answers folders of the layers below, topmost first
   * @throws Error also when the thread ends meanwhile
   */
  run(task: UnpackTask, lowers: Promise<readonly string[]>): Promise<Unpacked>
  end(): Promise<void>
}

/** How long an idle thread stays, in milliseconds: it costs some 10 MB. */
const idleMs = 5_000

/**
 * A program given on the command line says of what type it is; the worker is a file. What else it inherits is left to
 * Node unless it must be said: flags of V8, fine for a process, are refused of a worker.
 */
const isGiven = process.execArgv.some((option) => option.startsWith('--input-type'))
const workerOptions: WorkerOptions = isGiven
  ? { execArgv: process.execArgv.filter((option) => /^(--conditions|-C)=/.test(option)) }
  : {}

// Run from sources the file is TypeScript, from a build it is not.
const file = new URL(`./unpack-worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url)

/** @param stallMs how long a layer may stand still, in milliseconds */
export function createUnpackThread(stallMs: number): UnpackThread {
  let worker: Worker | undefined
  let idle: NodeJS.Timeout | undefined

  const end = async (): Promise<void> => {
    clearTimeout(idle)
    const ending = worker
    worker = undefined
    await ending?.terminate()
  }

  const ask = async (running: Worker, task: UnpackTask, lowers: Promise<readonly string[]>): Promise<Unpacked> => {
    const answer = Promise.withResolvers<Unpacked>()
    const gate = new SharedArrayBuffer(3 * Int32Array.BYTES_PER_ELEMENT)
    const { port1, port2 } = new MessageChannel()
    const onMessage = ({ unpacked, error }: { unpacked?: Unpacked; error?: string }): void =>
      unpacked ? answer.resolve(unpacked) : answer.reject(new Error(error))
    const onExit = (code: number): void => {
      if (worker === running) worker = undefined
      answer.reject(new Error(`the unpacking thread ended with status ${code}`))
    }
    const watch = watchProgress(new Int32Array(gate), stallMs, () => {
      answer.reject(new Error(`nothing moved for ${stallMs / 1000} s: is the disk stuck?`))
      void end()
    })
    running.on('message', onMessage).on('error', answer.reject).on('exit', onExit)
    const message: UnpackMessage = { task, gate, lowers: port2 }
    running.postMessage(message, [port2])
    void lowers.then(
      (folders) => openGate(gate, port1, { lowers: folders }),
      (error: Error) => openGate(gate, port1, { error: error.message }),
    )
    try {
      return await answer.promise
    } finally {
      clearInterval(watch)
      port1.close()
      running.off('message', onMessage).off('error', answer.reject).off('exit', onExit)
    }
  }

  return {
    run: async (task, lowers) => {
      clearTimeout(idle)
      const running = (worker ??= new Worker(file, workerOptions))
      running.ref() // a process does not end in the middle of a layer
      try {
        return await ask(running, task, lowers)
      } finally {
        running.unref()
        idle = setTimeout(() => void end(), idleMs).unref()
      }
    },
    end,
  }
}

function openGate(gate: SharedArrayBuffer, port: MessagePort, answer: LowersAnswer): void {
  port.postMessage(answer)
  const places = new Int32Array(gate)
  Atomics.store(places, gateAt.isOpen, 1)
  Atomics.notify(places, gateAt.isOpen)
}

/** Waiting for the layers below is not standing still. */
function watchProgress(gate: Int32Array, stallMs: number, onStall: () => void): NodeJS.Timeout {
  let before = -1
  return setInterval(() => {
    const now = Atomics.load(gate, gateAt.progress)
    const waits = Atomics.load(gate, gateAt.waits) === 1 && Atomics.load(gate, gateAt.isOpen) === 0
    if (now === before && !waits) onStall()
    before = waits ? -1 : now
  }, stallMs).unref()
}
