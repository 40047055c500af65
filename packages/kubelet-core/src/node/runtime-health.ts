// Whether the runtime and its network are ready.
import type { RuntimeService, StatusResponse } from '@nodelet/cri-api'
import type { Clock } from '../clock.ts'

export interface RuntimeHealth {
  /** Asks the runtime; what it fails with is one of the problems. */
  check(signal?: AbortSignal): Promise<void>
  /** In upstream's words; empty when all is well. */
  problems(): string[]
  /** Why pods with their own network cannot start; undefined when they can. */
  networkProblem(): string | undefined
  /** The last good answer. */
  answer(): StatusResponse | undefined
}

/** How long the runtime may be silent before it counts as down. */
const downMs = 30_000

export function createRuntimeHealth(runtime: Pick<RuntimeService, 'status'>, clock: Clock): RuntimeHealth {
  let last: StatusResponse | undefined
  let lastMs = 0
  let failure: string | undefined

  const conditionOf = (wanted: string) => last?.status?.conditions.find(({ type }) => type === wanted)
  const networkProblem = (): string | undefined => {
    const network = conditionOf('NetworkReady')
    if (!last || network?.status) return undefined
    const { reason = '', message = '' } = network ?? {}
    return `container runtime network not ready: NetworkReady=false reason:${reason} message:${message}`
  }
  return {
    async check(signal) {
      try {
        last = await runtime.status({ verbose: false }, { signal })
        failure = undefined
        if (conditionOf('RuntimeReady')?.status) lastMs = clock.now()
      } catch (error) {
        failure = error instanceof Error ? error.message : String(error)
      }
    },
    problems() {
      if (!last) return [failure ?? 'container runtime status check may not have completed yet']
      const runtimeReady = conditionOf('RuntimeReady')
      const problems: string[] = []
      if (runtimeReady?.status === false) {
        const { reason, message } = runtimeReady
        problems.push(`container runtime not ready: RuntimeReady=false reason:${reason} message:${message}`)
      } else if (clock.now() - lastMs > downMs) {
        problems.push(`container runtime is down${failure ? `: ${failure}` : ''}`)
      }
      const network = networkProblem()
      return network ? [...problems, network] : problems
    },
    networkProblem,
    answer: () => last,
  }
}
