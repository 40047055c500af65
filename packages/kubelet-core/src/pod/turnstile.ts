// The place among those that start pods at the same time, as one turn holds it.
import type { Release, Slots } from './slots.ts'

export interface Turnstile {
  /** Waits for a place; nothing when it is held. `resume`: this pod has begun before and goes first. */
  enter(options: { resume: boolean }): Promise<void>
  /** Gives the place back, before anything that may take long; fine when there is none. */
  leave(): void
}

export function createTurnstile(slots: Slots, signal: AbortSignal): Turnstile {
  let held: Release | undefined
  return {
    async enter({ resume }) {
      held ??= await slots.acquire({ resume, signal })
    },
    leave() {
      held?.()
      held = undefined
    },
  }
}
