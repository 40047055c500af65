// How a soak waits while the node and its control plane come and go.
import { setTimeout as sleep } from 'node:timers/promises'
import { StatusError } from '@nodelet/kube-client'

interface Patience {
  /** Asks again while the control plane is away. @throws what it answers, or the last failure */
  insist<T>(ask: () => Promise<T>): Promise<T>
  /** @throws Error naming what was waited for */
  until(what: string, look: () => Promise<boolean>): Promise<void>
}

/** @param ms how long it is waited for each thing */
export const patient = (ms: number): Patience => ({
  async insist(ask) {
    for (const deadline = Date.now() + ms; ;) {
      try {
        return await ask()
      } catch (error) {
        if ((error instanceof StatusError && error.code < 500) || Date.now() > deadline) throw error
        await sleep(100)
      }
    }
  },
  async until(what, look) {
    for (const deadline = Date.now() + ms; !(await look()); await sleep(100)) {
      if (Date.now() > deadline) throw new Error(`waited for ${what}`)
    }
  },
})
