// One life of a process that custom plugins run in: from its start to its end, which any fault of theirs may be.
import { finished } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startProgram } from '@nodelet/linux'
import type { Ended } from '@nodelet/linux'
import { CniError, cniCode } from '../errors.ts'
import { longestOutputBytes } from '../libcni/program.ts'
import type { CniLog, Host } from '../types.ts'
import { parseMessage, placeOf, printMessage, splitLines } from './messages.ts'
import type { Described, FromPlugins, PluginSource, ToPlugins } from './messages.ts'
import { grant, tooLate } from './wishes.ts'

/** What JavaScript may allocate there, in MiB. */
const memoryMib = 256
/** How long a call that was aborted may take to come to an end by itself, in milliseconds. */
const graceMs = 2_000
/** How long what it said last may be on the way, in milliseconds. */
const lastWordsMs = 200
/** How much of what it prints is told at once, in characters. */
const shownLength = 1_000

// Run from sources the file is TypeScript, from a build it is not.
const file = fileURLToPath(new URL(`./main.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url))
const options = [
  ...process.execArgv.filter((option) => /^(--conditions|-C)=/.test(option)),
  `--max-old-space-size=${memoryMib}`,
  // What is told of files without a package is no news to who put them there.
  '--disable-warning=MODULE_TYPELESS_PACKAGE_JSON',
]

export interface PluginCall {
  plugin: string
  command: string
  env: Readonly<Record<string, string>>
  stdin: string
  host: Host
}

export interface Life {
  /** The plugins that it has loaded. Rejected with why it cannot. */
  readonly ready: Promise<readonly Described[]>
  /** Whether another must be started for the next call. */
  readonly isOver: boolean
  /** What the plugin printed, and its exit code. @throws CniError telling how the process ended meanwhile */
  call(call: PluginCall, signal: AbortSignal): Promise<{ stdout: string; exitCode: number }>
  /** Kills it. Calls under way fail with the reason; without one it is nobody's fault. */
  end(reason?: CniError): void
}

interface Running {
  host: Host
  /** Aborts what the plugin asks for. */
  over: AbortController
  done: PromiseWithResolvers<{ stdout: string; exitCode: number }>
}

/** @throws LinuxError when no process can be started */
export function startLife(
  source: PluginSource,
  { hostNetns, log }: { hostNetns?: string | undefined; log: CniLog },
): Life {
  const place = placeOf(source)
  const program = startProgram(process.execPath, [...options, file, JSON.stringify(source)], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
    inputs: [3],
    detached: true, // Ctrl-C is for this process, which ends it
    ...(hostNetns !== undefined && { netns: hostNetns }),
  })
  const [, out, err, input, output] = program.stdio
  const ready = Promise.withResolvers<readonly Described[]>()
  ready.promise.catch(() => undefined) // who calls hears of it as well
  const calls = new Map<number, Running>()
  const asked = new Map<number, AbortController>()
  let lastCall = 0
  let said = 0
  let lastPrinted = ''
  let isOutOfMemory = false
  let isOver = false
  let isReady = false
  let reason: CniError | undefined

  const send = (message: ToPlugins): void => void input?.write(printMessage(message))
  const end = (why?: CniError): void => {
    if (isOver) return
    isOver = true
    reason = why
    program.kill('SIGKILL')
  }
  const fault = (code: number, message: string): void => end(new CniError(code, message))

  const onMessage = (message: FromPlugins): void => {
    switch (message.kind) {
      case 'ready':
        isReady = true
        return ready.resolve(message.plugins)
      case 'done':
        return calls.get(message.call)?.done.resolve(message)
      case 'ask':
        return void answer(message)
      case 'takeBack':
        return asked.get(message.ask)?.abort()
      case 'log':
        return log.warn({ plugin: place, ...message.fields }, message.message)
      case 'fault':
        return fault(cniCode.internal, message.reason)
      default:
        return message satisfies never
    }
  }
  const answer = async ({ call, ask, wish }: FromPlugins & { kind: 'ask' }): Promise<void> => {
    const running = calls.get(call)
    if (!running) return send({ kind: 'answer', ask, ...tooLate })
    const takenBack = new AbortController()
    asked.set(ask, takenBack)
    const said = await grant(wish, running.host, AbortSignal.any([running.over.signal, takenBack.signal]))
    asked.delete(ask)
    send({ kind: 'answer', ask, ...said })
  }
  const onLine = splitLines((line) => {
    if (isOver) return
    try {
      onMessage(parseMessage(line))
    } catch {
      fault(cniCode.decoding, 'it sent what is no message, and was killed')
    }
  })
  /** Without an end it would take all memory of this process. */
  const bounded = (use: (piece: Buffer) => void) => (piece: Buffer) => {
    said += piece.length
    if (said > longestOutputBytes)
      fault(cniCode.decoding, `it said more than ${longestOutputBytes} bytes, and was killed`)
    if (!isOver) use(piece)
  }
  const onPrint = bounded((piece) => {
    const text = piece.toString()
    // V8 says so, and where it was, before it gives up.
    isOutOfMemory ||= (lastPrinted + text).includes('heap out of memory')
    lastPrinted = text.slice(-shownLength)
    log.warn({ plugin: place }, text.trim().slice(0, shownLength))
  })
  out?.on('data', onPrint)
  err?.on('data', onPrint)
  output?.on('data', bounded(onLine))
  for (const pipe of [input, output, out, err]) pipe?.on('error', () => undefined) // its end tells

  const heard = Promise.allSettled([err, output].map(async (pipe) => pipe && finished(pipe)))
  void program.ended.then(async (how) => {
    // What it started may hold the pipes.
    await Promise.race([heard, setTimeout(lastWordsMs)])
    if (!isOver) fault(cniCode.internal, isOutOfMemory ? outOfMemory : endOf(how))
    for (const pipe of [input, output, out, err]) pipe?.destroy()
    const why = reason ?? new CniError(cniCode.tryAgain, 'its process was ended')
    // Who loads it tells the rest.
    if (reason && isReady) log.warn({ plugin: place, err: reason }, 'the process of a CNI plugin ended')
    ready.reject(why)
    for (const { done } of calls.values()) done.reject(why)
  })

  const call: Life['call'] = async ({ plugin, command, env, stdin, host }, signal) => {
    signal.throwIfAborted()
    said = 0
    const id = (lastCall += 1)
    const running: Running = { host, over: new AbortController(), done: Promise.withResolvers() }
    calls.set(id, running)
    let late: NodeJS.Timeout | undefined
    const onAbort = (): void => {
      send({ kind: 'abort', call: id, reason: String((signal.reason as Error | undefined)?.message) })
      running.over.abort(signal.reason)
      late = globalThis.setTimeout(() => {
        fault(cniCode.tryAgain, `no answer to ${command} in time, and was killed`)
      }, graceMs)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    send({ kind: 'call', call: id, plugin, env, stdin, addressDir: host.addressDir })
    try {
      return await running.done.promise
    } finally {
      clearTimeout(late)
      signal.removeEventListener('abort', onAbort)
      running.over.abort()
      calls.delete(id)
    }
  }

  return {
    ready: ready.promise,
    get isOver() {
      return isOver
    },
    call,
    end,
  }
}

const outOfMemory = `out of memory, of which it may use ${memoryMib} MiB`

const endOf = ({ code, signal }: Ended): string =>
  code === null ? `its process was ended by ${signal}` : `its process ended itself with exit status ${code}`
