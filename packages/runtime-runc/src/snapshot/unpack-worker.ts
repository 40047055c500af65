// The worker's side: one task after the other.
import { parentPort } from 'node:worker_threads'
import { unpackLayer } from './unpack.ts'
import type { UnpackTask } from './unpack.ts'

parentPort?.on('message', (task: UnpackTask) => {
  unpackLayer(task).then(
    (unpacked) => parentPort?.postMessage({ unpacked }),
    (error: Error) => parentPort?.postMessage({ error: error.message }),
  )
})
