// A program that is a plugin.
import { text } from 'node:stream/consumers'
import type { DefinedPlugin } from './define-plugin.ts'
import { execute } from './execute.ts'
import { programHost } from './host.ts'

/** Answers the one call that this process was started for, and sets its exit code. A signal that ends it is heard by the plugin. */
export async function runExecutable(plugin: DefinedPlugin): Promise<void> {
  const ended = new AbortController()
  const onSignal = (signal: NodeJS.Signals): void => ended.abort(new Error(`ended by ${signal}`))
  process.once('SIGTERM', onSignal).once('SIGINT', onSignal)
  const { stdout, stderr, exitCode } = await execute(plugin, {
    env: process.env,
    stdin: async () => text(process.stdin),
    host: programHost(process.env),
    signal: ended.signal,
  })
  process.exitCode = exitCode
  process.stderr.write(stderr)
  process.stdout.write(stdout)
  process.off('SIGTERM', onSignal).off('SIGINT', onSignal)
}
