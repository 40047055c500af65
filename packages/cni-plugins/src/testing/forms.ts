// The two forms of a plugin, alike for tests.
import { finished, startProgram } from '@nodelet/linux'
import { openHost } from '../libcni/host.ts'
import { standardPlugins } from '../plugins/standard-plugins.ts'
import type { DefinedPlugin } from '../sdk/define-plugin.ts'
import { execute } from '../sdk/execute.ts'
import type { Executed } from '../sdk/execute.ts'

/** One call: all of the variables whose names begin with CNI_, and stdin. */
export type PluginForm = (env: Readonly<Record<string, string>>, stdin: string) => Promise<Executed>

/** How long one call may take, in milliseconds. */
const patienceMs = 60_000

/**
 * The plugin in this process; those that it asks are the standard ones.
 *
 * @param hostNetns taken as the host's namespace. @param addressDir of host-local
 */
export function inProcess(plugin: DefinedPlugin, options: { hostNetns: string; addressDir: string }): PluginForm {
  const log = { warn: () => undefined }
  const { forChain } = openHost({ plugins: [...standardPlugins, plugin], binDirs: [], ...options, log })
  return async (env, stdin) =>
    execute(plugin, {
      env,
      stdin: async () => stdin,
      host: forChain(),
      signal: AbortSignal.timeout(patienceMs),
    })
}

/** A program, ours or of others, that starts in the host's namespace. */
export function program(path: string, { hostNetns }: { hostNetns: string }): PluginForm {
  return async (env, stdin) => {
    const started = startProgram(path, [], {
      env: { PATH: process.env['PATH'], ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
      netns: hostNetns,
      signal: AbortSignal.timeout(patienceMs),
    })
    started.stdin?.on('error', () => undefined) // it did not read all: its answer tells
    started.stdin?.end(stdin)
    const { stdout, stderr, code, signal } = await finished(started)
    if (code === null) throw new Error(`${path} was ended by ${signal}`)
    return { stdout, stderr, exitCode: code }
  }
}
