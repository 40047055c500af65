// The process that the plugins of one file or package run in: answers calls until its parent goes.
import { writeFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { endWithParent } from '@nodelet/linux'
import { CniError, cniCode } from '../errors.ts'
import { openHost } from '../libcni/host.ts'
import type { Hosts } from '../libcni/host.ts'
import { parseResult } from '../libcni/parse-result.ts'
import type { DefinedPlugin } from '../sdk/define-plugin.ts'
import { errorObject, execute } from '../sdk/execute.ts'
import type { CniLog, Host } from '../types.ts'
import { importPlugins } from './import-plugins.ts'
import { printMessage, splitLines } from './messages.ts'
import type { FromPlugins, PluginSource, ToPlugins, Wish } from './messages.ts'
import { answered, wishedPlugin } from './wishes.ts'

const [, , argument = ''] = process.argv
const source = JSON.parse(argument) as PluginSource

endWithParent()
// When the machine runs out of memory it is this process that goes first.
writeFileSync('/proc/self/oom_score_adj', '1000')

const output = new Socket({ fd: 4, readable: false, writable: true })
const send = (message: FromPlugins): void => void output.write(printMessage(message))
const fail = (reason: string): void => {
  output.write(printMessage({ kind: 'fault', reason }), () => process.exit(1))
}
process.on('uncaughtException', (error: unknown, origin) => {
  const kind = origin === 'unhandledRejection' ? 'an unhandled rejection' : 'an uncaught exception'
  fail(`${kind}: ${error instanceof Error ? error.message : String(error)}`)
})

const log: CniLog = { warn: (fields, message) => send({ kind: 'log', fields: { ...fields }, message }) }
const calls = new Map<number, AbortController>()
const asked = new Map<number, (answer: { result?: unknown; error?: object }) => void>()
let lastAsk = 0

/** Asks the parent for something on behalf of a call. */
async function ask(call: number, wish: Wish, signal: AbortSignal): Promise<unknown> {
  signal.throwIfAborted()
  const id = (lastAsk += 1)
  const { promise, resolve } = Promise.withResolvers<{ result?: unknown; error?: object }>()
  asked.set(id, resolve)
  const takeBack = (): void => send({ kind: 'takeBack', ask: id })
  signal.addEventListener('abort', takeBack, { once: true })
  send({ kind: 'ask', call, ask: id, wish })
  try {
    return answered(await promise)
  } finally {
    asked.delete(id)
    signal.removeEventListener('abort', takeBack)
  }
}

let hosts: Hosts | undefined

/** Rules are made here; those of plugins that were asked are the parent's. */
function hostFor(call: number, addressDir: string): Host {
  hosts ??= openHost({ plugins: [], binDirs: [], addressDir, log })
  // What is kept would not live longer than this process.
  const { keep: _, ...own } = hosts.forChain()
  let hasAsked = false
  return {
    ...own,
    settleRules: async (signal) => {
      await own.settleRules(signal)
      if (hasAsked) await ask(call, { verb: 'settleRules' }, signal)
    },
    plugin: (type) =>
      wishedPlugin(type, async (wish, signal) => {
        hasAsked = true
        return ask(call, wish, signal)
      }),
  }
}

/** A result that is none is told as such. */
const checked = (plugin: DefinedPlugin): DefinedPlugin => ({
  ...plugin,
  add: async (request, host, signal) => {
    const result: unknown = await plugin.add(request, host, signal)
    if (typeof result !== 'object' || result === null) {
      throw new CniError(cniCode.decoding, `ADD gave no result but ${String(result)}`)
    }
    return parseResult('ADD', result, request.config.cniVersion)
  },
})

async function run(
  plugins: readonly DefinedPlugin[],
  { call, plugin: name, env, stdin, addressDir }: ToPlugins & { kind: 'call' },
): Promise<void> {
  const aborted = new AbortController()
  calls.set(call, aborted)
  const plugin = plugins.find((one) => one.name === name)
  const host = hostFor(call, addressDir)
  const { stdout, exitCode } = plugin
    ? await execute(checked(plugin), { env, stdin: async () => stdin, host, signal: aborted.signal })
    : { stdout: JSON.stringify(errorObject(new Error('it is no longer there'), '')), exitCode: 1 }
  calls.delete(call)
  send({ kind: 'done', call, stdout, exitCode })
}

try {
  const plugins = await importPlugins(source)
  send({ kind: 'ready', plugins: plugins.map(({ name, supported }) => ({ name, versions: [...supported] })) })
  const onLine = splitLines((line) => {
    const message = JSON.parse(line) as ToPlugins
    if (message.kind === 'call') void run(plugins, message)
    else if (message.kind === 'abort') calls.get(message.call)?.abort(new Error(message.reason))
    else asked.get(message.ask)?.(message)
  })
  const input = new Socket({ fd: 3, readable: true, writable: false })
  input.on('data', onLine).on('end', () => process.exit())
} catch (error) {
  fail(error instanceof Error && error.name === 'Error' ? error.message : String(error))
}
