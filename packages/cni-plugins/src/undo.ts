// Undoing what a plugin did before it failed.
import type { Host } from './types.ts'

/**
 * Does each step, whatever comes of the others, so that the first error is the one that is told. What cannot be undone is
 * left to the DEL that the runtime owes after a failed ADD.
 */
export async function undo({ log }: Pick<Host, 'log'>, ...steps: (() => Promise<unknown>)[]): Promise<void> {
  for (const step of steps) {
    try {
      await step()
    } catch (error) {
      log.warn({ err: error }, 'an ADD that failed is undone in part only')
    }
  }
}
