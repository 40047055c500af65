// One life of a process that custom plugins run in: from its start to its end, which any fault of theirs may be.
import { finished } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startProgram } from '@nodelet/linux'
import type { Ended } from '@nodelet/linux'
import { CniError, cniCode } from '../errors.ts'
import { longestOutputBytes } from '../libcni/program.ts'
import type { CniLog } from '../types.ts'
import { openCalls } from './calls.ts'
import type { PluginCall, Printed } from './calls.ts'
import { parseMessage, placeOf, printMessage, splitLines } from './messages.ts'
import type { Described, FromPlugins, PluginSource } from './messages.ts'

/** What JavaScript may allocate there, in MiB. */
const memoryMib = 256
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

export interface Life {
  /** The plugins that it has loaded. Rejected with why it cannot. */
  readonly ready: Promise<readonly Described[]>
  /** Whether another must be started for the next call. */
  readonly isOver: boolean
  /** What the plugin printed, and its exit code. @throws CniError telling how the process ended meanwhile */
  call(call: PluginCall, signal: AbortSignal): Promise<Printed>
  /** Kills it. Calls under way fail with the reason; without one it is nobody's fault. */
  end(reason?: CniError): void
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
  let said = 0
  let lastPrinted = ''
  let isOutOfMemory = false
  let isOver = false
  let isReady = false
  let reason: CniError | undefined

  const calls = openCalls((message) => void input?.write(printMessage(message)))
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
      case 'log':
        return log.warn({ plugin: place, ...message.fields }, message.message)
      case 'fault':
        return fault(cniCode.internal, message.reason)
      default:
        return calls.heard(message)
    }
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
    calls.fail(why)
  })

  const call: Life['call'] = async (asked, signal) => {
    said = 0
    return calls.run(asked, signal, () => {
      fault(cniCode.tryAgain, `no answer to ${asked.command} in time, and was killed`)
    })
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
