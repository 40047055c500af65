// A program that is a plugin.
import { readFileSync } from 'node:fs'
import type { DefinedPlugin } from './define-plugin.ts'
import { execute } from './execute.ts'
import { programHost } from './host.ts'

/** Answers the one call that this process was started for, and sets its exit code. A signal that ends it is heard by the plugin. */
export async function runExecutable(plugin: DefinedPlugin): Promise<void> {
  const ended = new AbortController()
  const onSignal = (signal: NodeJS.Signals): void => ended.abort(new Error(`ended by ${signal}`))
  const { stdout, stderr, exitCode } = await execute(plugin, {
    env: process.env,
    stdin: async () => {
      const input = await readInput()
      process.once('SIGTERM', onSignal).once('SIGINT', onSignal)
      return input
    },
    host: programHost(process.env),
    signal: ended.signal,
  })
  process.off('SIGTERM', onSignal).off('SIGINT', onSignal)
  process.exitCode = exitCode
  process.stderr.write(stderr)
  process.stdout.write(stdout)
}

/** At once: streams take longer to load than to read, and this process has nothing else to do. */
async function readInput(): Promise<string> {
  try {
    return readFileSync(0, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    const { text } = await import('node:stream/consumers') // of a pipe that does not wait
    return text(process.stdin)
  }
}
