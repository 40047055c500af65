// Removes requests for certificates of pods when they are old: whoever waits has what it asked for, or asks anew.
import { isNotFound, podCertificateRequests } from '@nodelet/kube-client'
import type { ControllerContext } from './caches.ts'
import { createQueue, keyOf, splitKey } from './queue.ts'

/** As the controller manager has it. */
const keptMs = 900_000

export function startPodCertificateCleaner(
  {
    client,
    caches,
    log,
  }: Pick<ControllerContext, 'client' | 'log'> & {
    caches: Pick<ControllerContext['caches'], 'podCertificateRequests'>
  },
  longestMs: number = keptMs,
): AsyncDisposable {
  const cache = caches.podCertificateRequests
  const work = async (key: string): Promise<void> => {
    const ref = splitKey(key)
    const request = cache.get(ref)
    if (!request) return
    const leftMs = longestMs - (Date.now() - Date.parse(request.metadata?.creationTimestamp ?? ''))
    if (leftMs > 0) return queue.addAfter(key, leftMs)
    const { uid } = request.metadata ?? {}
    await client
      .delete(podCertificateRequests, ref, { preconditions: { ...(uid !== undefined && { uid }) } })
      .catch((error: unknown) => {
        if (!isNotFound(error)) throw error
      })
  }
  const queue = createQueue('pod certificates', work, log)
  const stop = cache.subscribe({ added: (request) => queue.add(keyOf(request)) })
  return {
    [Symbol.asyncDispose]: async () => {
      stop()
      await queue[Symbol.asyncDispose]()
    },
  }
}
