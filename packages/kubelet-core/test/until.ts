import { vi } from 'vitest'

/** What is looked for, once it is there. @throws Error after `timeout` milliseconds */
export async function until<T>(look: () => T | undefined | false, timeout = 15_000): Promise<T> {
  return vi.waitFor(
    () => {
      const found = look()
      if (!found) throw new Error(`nothing yet of ${look}`)
      return found
    },
    { timeout, interval: 10 },
  )
}
