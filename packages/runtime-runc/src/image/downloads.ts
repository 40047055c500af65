// Blobs on their way here: each once, whoever wants it, and not too many at once.
import { CorruptError } from '../content.ts'
import type { ContentStore } from '../content.ts'
import type { Descriptor } from './manifest.ts'
import { createSharedPulls } from './shared-pulls.ts'
import { createSlots } from './slots.ts'

/** Where an image's content comes from. */
export interface Source {
  /** The manifest of a descriptor, checked against its digest. */
  manifest(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer>
  /** A blob's bytes from an offset. */
  blob(descriptor: Descriptor, signal: AbortSignal, from?: number): AsyncIterable<Uint8Array>
  /** What came for this digest was wrong. */
  distrust?(digest: string): void
}

export interface Progress {
  digest: string
  /** Bytes. */
  done: number
  total: number
}

export interface Downloads {
  /**
   * Brings a blob into the store. What is here is not fetched; what is on its way is waited for. When the signal aborts
   * and nobody else waits, what came so far is kept for the next time.
   * @throws CriError
   */
  fetch(
    source: Source,
    blob: Descriptor,
    limits: { signal: AbortSignal; onProgress: (progress: Progress) => void },
  ): Promise<void>
}

/** @param most downloads at once */
export function createDownloads(content: ContentStore, most: number): Downloads {
  const slots = createSlots(most)
  const running = createSharedPulls<void>({ windsDown: true })

  const download = async (
    source: Source,
    blob: Descriptor,
    signal: AbortSignal,
    tell: (progress: Progress) => void,
  ): Promise<void> => {
    const { digest, size: total } = blob
    const write = async (): Promise<void> =>
      content.write(
        blob,
        (from) => source.blob(blob, signal, from),
        (done) => tell({ digest, done, total }),
      )
    try {
      await write()
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error
      // Once more, from another host where there is one.
      source.distrust?.(digest)
      await write()
    }
  }

  return {
    fetch: async (source, blob, { signal, onProgress }) => {
      const { digest, size: total } = blob
      for (;;) {
        signal.throwIfAborted()
        if (await content.has(digest)) return onProgress({ digest, done: total, total })
        let isOurs = false
        try {
          return await running.join(
            digest,
            async (leaving, tell) => {
              isOurs = true
              await slots.run(async () => download(source, blob, leaving, tell), leaving)
            },
            signal,
            onProgress,
          )
        } catch (error) {
          // Another's source failed, or went away with its pull: ours may do better.
          if (isOurs || signal.aborted) throw error
        }
      }
    },
  }
}
