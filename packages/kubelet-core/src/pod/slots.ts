// A limited number of things at a time, first come first served.

/** A place that was given; giving it back twice is fine. */
export type Release = () => void

export interface Slots {
  /**
   * Waits for a place. Who resumes what was begun goes before who begins, so that the first pods finish first.
   * @throws the signal's reason
   */
  acquire(options?: { resume?: boolean; signal?: AbortSignal }): Promise<Release>
}

interface Waiter {
  give(release: Release): void
}

export function createSlots(count: number): Slots {
  let free = Math.max(1, count)
  const resuming = new Set<Waiter>()
  const beginning = new Set<Waiter>()

  const place = (): Release => {
    let held = true
    return () => {
      if (!held) return
      held = false
      const queue = resuming.size > 0 ? resuming : beginning
      const [next] = queue
      if (!next) {
        free++
        return
      }
      queue.delete(next)
      next.give(place())
    }
  }

  return {
    async acquire({ resume = false, signal } = {}) {
      signal?.throwIfAborted()
      if (free > 0) {
        free--
        return place()
      }
      const queue = resume ? resuming : beginning
      return new Promise<Release>((resolve, reject) => {
        const waiter: Waiter = {
          give(release) {
            signal?.removeEventListener('abort', leave)
            resolve(release)
          },
        }
        const leave = (): void => {
          queue.delete(waiter)
          reject(signal?.reason)
        }
        signal?.addEventListener('abort', leave, { once: true })
        queue.add(waiter)
      })
    },
  }
}
