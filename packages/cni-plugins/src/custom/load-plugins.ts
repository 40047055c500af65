// Custom plugins: found in a folder and in npm packages, each file and package in a process of its own.
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { CniError, cniCode } from '../errors.ts'
import { failure } from '../libcni/program.ts'
import { protocolPlugin } from '../libcni/protocol-plugin.ts'
import { standardPlugins } from '../plugins/standard-plugins.ts'
import type { DefinedPlugin } from '../sdk/define-plugin.ts'
import { placeOf } from './messages.ts'
import type { Described, PluginSource } from './messages.ts'
import { openPluginProcess } from './process.ts'
import type { PluginProcess, ProcessOptions } from './process.ts'

/** What npm packages are called, with or without a path inside. */
export const packageNamePattern: RegExp = /^(@[\w.~-]+\/)?[\w~-][\w.~-]*(\/[\w.~/-]+)?$/

export interface LoadOptions extends ProcessOptions {
  /** Each `*.ts`, `*.js` and `*.mjs` in it is loaded; its folders are not. */
  dir?: string | undefined
  /** Names of npm packages. */
  packages?: readonly string[] | undefined
  /** Folders that packages are looked for from, one after the other; default: the working folder. */
  packageDirs?: readonly string[] | undefined
}

/** For `createCni`. */
export interface CustomPlugins extends Disposable {
  plugins: readonly DefinedPlugin[]
  /** What could not be loaded, and why. */
  unloaded: readonly string[]
  /** Ends their processes; calls under way fail. */
  close(): void
}

/**
 * Loads plugins that `definePlugin` made, exported by default or by name. What cannot be loaded is told to `log`, and in
 * `unloaded`.
 *
 * @throws CniError when two plugins have one name, or a standard plugin has it
 */
export async function loadPlugins(options: LoadOptions): Promise<CustomPlugins> {
  using opened = new DisposableStack()
  const outcomes = await Promise.all(
    (await sourcesOf(options)).map(async (source): Promise<{ found: Found[]; problem?: string }> => {
      if ('problem' in source) return { found: [], problem: source.problem }
      const place = placeOf(source)
      const running = opened.adopt(openPluginProcess(source, options), (one) => one.close())
      try {
        return { found: (await running.describe()).map((described) => ({ ...described, place, running })) }
      } catch (error) {
        running.close()
        return { found: [], problem: `${place}: ${(error as Error).message}` }
      }
    }),
  )
  const found = outcomes.flatMap((outcome) => outcome.found)
  const unloaded = outcomes.flatMap(({ problem }) => problem ?? [])
  for (const problem of unloaded) options.log.warn({ problem }, 'a CNI plugin cannot be loaded')
  refuseClashes(found)
  const all = opened.move()
  const close = (): void => all.dispose()
  return { plugins: found.map(customPlugin), unloaded, close, [Symbol.dispose]: close }
}

interface Found extends Described {
  place: string
  running: PluginProcess
}

/** A folder that cannot be read is a problem, too. */
async function sourcesOf({
  dir,
  packages = [],
  packageDirs = [process.cwd()],
}: LoadOptions): Promise<(PluginSource | { problem: string })[]> {
  const named = packages.map((name) => ({ name, from: packageDirs }))
  if (dir === undefined) return named
  try {
    const entries = await readdir(dir, { withFileTypes: true })
    const files = entries.filter((entry) => !entry.isDirectory() && isCode(entry.name)).map(({ name }) => name)
    return [...files.toSorted().map((name) => ({ file: join(dir, name) })), ...named]
  } catch (error) {
    return [{ problem: `${dir}: ${(error as Error).message}` }, ...named]
  }
}

const isCode = (name: string): boolean => /^[^.].*\.(ts|js|mjs)$/.test(name) && !name.endsWith('.d.ts')

/** @throws CniError naming the plugin and both places */
function refuseClashes(found: readonly Found[]): void {
  const known = new Map(standardPlugins.map(({ name }) => [name, 'the standard plugin']))
  for (const { name, place } of found) {
    const other = known.get(name)
    if (other !== undefined) {
      throw new CniError(cniCode.badConfig, `two CNI plugins are called "${name}": ${other} and that of ${place}`)
    }
    known.set(name, `that of ${place}`)
  }
}

function customPlugin({ name, versions, place, running }: Found): DefinedPlugin {
  const spoken = protocolPlugin(name, async (command, env, input, host, signal) => {
    // Others are asked for by messages, not by the path, which must be there.
    const all = { ...env, CNI_COMMAND: command, CNI_PATH: '/' }
    const { stdout, exitCode } = await called(name, place, async () =>
      running.call({ plugin: name, command, env: all, stdin: JSON.stringify(input), host }, signal),
    )
    if (exitCode !== 0) throw failure(name, stdout, '', exitCode)
    return stdout
  })
  return { name, supported: versions, versions: async () => versions, ...spoken }
}

/** A failure of the process, not of the plugin's own. */
async function called<T>(name: string, place: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    const code = cause instanceof CniError ? cause.code : cniCode.internal
    throw new CniError(code, `plugin "${name}" of ${place}: ${(cause as Error).message}`, { cause })
  }
}
