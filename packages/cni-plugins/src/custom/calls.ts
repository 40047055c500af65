// The calls that a process of custom plugins works on, and what it asks for meanwhile.
import type { CniError } from '../errors.ts'
import type { Host } from '../types.ts'
import type { FromPlugins, ToPlugins } from './messages.ts'
import { grant, tooLate } from './wishes.ts'

export interface PluginCall {
  plugin: string
  command: string
  env: Readonly<Record<string, string>>
  stdin: string
  host: Host
}

/** What the plugin printed, and its exit code. */
export interface Printed {
  stdout: string
  exitCode: number
}

export interface Calls {
  /** @param late told when there is no answer although the call was aborted a while ago */
  run(call: PluginCall, signal: AbortSignal, late: () => void): Promise<Printed>
  /** A message that has to do with a call. */
  heard(message: FromPlugins & { kind: 'done' | 'ask' | 'takeBack' }): void
  /** There will be no answers any more. */
  fail(why: CniError): void
}

/** How long a call that was aborted may take to come to an end by itself, in milliseconds. */
const graceMs = 2_000

interface Running {
  host: Host
  /** Aborts what the plugin asks for. */
  over: AbortController
  done: PromiseWithResolvers<Printed>
}

export function openCalls(send: (message: ToPlugins) => void): Calls {
  const calls = new Map<number, Running>()
  const asked = new Map<number, AbortController>()
  let last = 0

  const answer = async ({ call, ask, wish }: FromPlugins & { kind: 'ask' }): Promise<void> => {
    const running = calls.get(call)
    if (!running) return send({ kind: 'answer', ask, ...tooLate })
    const takenBack = new AbortController()
    asked.set(ask, takenBack)
    const said = await grant(wish, running.host, AbortSignal.any([running.over.signal, takenBack.signal]))
    asked.delete(ask)
    send({ kind: 'answer', ask, ...said })
  }

  return {
    run: async ({ plugin, env, stdin, host }, signal, late) => {
      signal.throwIfAborted()
      const call = (last += 1)
      const running: Running = { host, over: new AbortController(), done: Promise.withResolvers() }
      calls.set(call, running)
      let grace: NodeJS.Timeout | undefined
      const onAbort = (): void => {
        send({ kind: 'abort', call, reason: String((signal.reason as Error | undefined)?.message) })
        running.over.abort(signal.reason)
        grace = setTimeout(late, graceMs)
      }
      signal.addEventListener('abort', onAbort, { once: true })
      send({ kind: 'call', call, plugin, env, stdin, addressDir: host.addressDir })
      try {
        return await running.done.promise
      } finally {
        clearTimeout(grace)
        signal.removeEventListener('abort', onAbort)
        running.over.abort()
        calls.delete(call)
      }
    },
    heard: (message) => {
      if (message.kind === 'done') calls.get(message.call)?.done.resolve(message)
      else if (message.kind === 'takeBack') asked.get(message.ask)?.abort()
      else void answer(message)
    },
    fail: (why) => calls.forEach(({ done }) => done.reject(why)),
  }
}
