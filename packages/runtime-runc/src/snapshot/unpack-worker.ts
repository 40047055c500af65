// The worker's side: one task after the other.
import { parentPort, receiveMessageOnPort } from 'node:worker_threads'
import { unpackLayer } from './unpack.ts'
import { gateAt } from './unpack-thread.ts'
import type { LowersAnswer, UnpackMessage } from './unpack-thread.ts'

parentPort?.on('message', ({ task, gate, lowers }: UnpackMessage) => {
  const places = new Int32Array(gate)
  const lowersOf = (): readonly string[] => {
    Atomics.store(places, gateAt.waits, 1)
    Atomics.wait(places, gateAt.isOpen, 0)
    const answer = receiveMessageOnPort(lowers)?.message as LowersAnswer
    if ('error' in answer) throw new Error(`a layer below is not there: ${answer.error}`)
    return answer.lowers
  }
  unpackLayer(task, lowersOf, () => Atomics.add(places, gateAt.progress, 1)).then(
    (unpacked) => parentPort?.postMessage({ unpacked }),
    (error: Error) => parentPort?.postMessage({ error: error.message }),
  )
})
