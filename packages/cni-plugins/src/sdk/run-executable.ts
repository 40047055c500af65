// A program that is a plugin.
import { readFileSync, writeSync } from 'node:fs'
import type { DefinedPlugin } from './define-plugin.ts'
import { execute } from './execute.ts'
import { programHost } from './host.ts'
import type { Siblings } from './host.ts'

/** Answers the one call that this process was started for, and sets its exit code. A signal that ends it is heard by the plugin. */
export async function runExecutable(plugin: DefinedPlugin, siblings?: Siblings): Promise<void> {
  const ended = new AbortController()
  const onSignal = (signal: NodeJS.Signals): void => ended.abort(new Error(`ended by ${signal}`))
  const { stdout, stderr, exitCode } = await execute(plugin, {
    env: process.env,
    stdin: async () => {
      const input = await readInput()
      process.once('SIGTERM', onSignal).once('SIGINT', onSignal)
      return input
    },
    host: programHost(process.env, siblings),
    signal: ended.signal,
  })
  process.off('SIGTERM', onSignal).off('SIGINT', onSignal)
  process.exitCode = exitCode
  await print(2, stderr)
  await print(1, stdout)
}

/** At once, as below: streams take longer to load than to write. */
async function print(fd: 1 | 2, text: string): Promise<void> {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EPIPE') return // nobody listens
      if (code !== 'EAGAIN') throw error
      const stream = fd === 1 ? process.stdout : process.stderr // a pipe that does not wait and is full
      const rest = bytes.subarray(at)
      return new Promise((resolve) => stream.write(rest, () => resolve()))
    }
  }
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
