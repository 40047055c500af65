// Looks at pods of the runtime, timed.
import type { RuntimeReader } from '../pod/runtime-read.ts'
import type { NodeMetrics } from './node-metrics.ts'

/** The same reader; what it answers and throws passes through. */
export const measuredReader = (
  reader: RuntimeReader,
  { relistPodSeconds }: Pick<NodeMetrics, 'relistPodSeconds'>,
): RuntimeReader => ({
  ...reader,
  async read(podUid, signal) {
    const took = relistPodSeconds.startTimer()
    return reader.read(podUid, signal).finally(took)
  },
})
