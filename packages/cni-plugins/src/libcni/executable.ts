// A plugin that is a program.
import { stat } from 'node:fs/promises'
import { delimiter } from 'node:path'
import { CniError, cniCode } from '../errors.ts'
import type { CniLog, Plugin } from '../types.ts'
import { findPlugin, runPlugin } from './program.ts'
import { protocolPlugin } from './protocol-plugin.ts'
import type { Exchange } from './protocol-plugin.ts'
import { parseVersionReply, versionEnv, versionInput, versionsOfError } from './version-reply.ts'

/**
 * Plugins by their type, each with what is known of its program.
 *
 * @param details why others are missing
 */
export function openExecutables(binDirs: readonly string[], details?: string): (type: string) => Plugin {
  const known = new Map<string, Plugin>()
  return (type) => {
    const plugin = known.get(type) ?? executablePlugin(type, binDirs, details)
    known.set(type, plugin)
    return plugin
  }
}

export function executablePlugin(type: string, binDirs: readonly string[], details?: string): Plugin {
  /** Of one state of the file. */
  let versions: { of: string; are: readonly string[] | undefined } | undefined

  const find = async (): Promise<string> => findPlugin(type, binDirs, details)
  const run: Exchange = async (command, env, input, { log, netns }, signal) => {
    const program = await find()
    const onStderr = (text: string): void => log.warn({ plugin: type, command }, text)
    const all = { ...noAttachment, CNI_PATH: binDirs.join(delimiter), ...env }
    return runPlugin({ type, program, command, env: all, input, netns, onStderr }, signal)
  }
  const spoken = protocolPlugin(type, run)

  return {
    ...spoken,
    versions: async (host, signal) => {
      const program = await find()
      const { ino, size, mtimeMs } = await stat(program)
      const of = `${program}:${ino}:${size}:${mtimeMs}`
      if (versions?.of !== of) {
        const ask = async (): Promise<string> => run('VERSION', versionEnv, versionInput, host, signal)
        versions = { of, are: await versionsOf(type, ask, host.log) }
      }
      return versions.are
    },
    status: async (...call) => {
      await find()
      await spoken.status(...call)
    },
  }
}

/** What this process was itself started with is not the plugin's. */
const noAttachment = { CNI_CONTAINERID: '', CNI_NETNS: '', CNI_IFNAME: '', CNI_ARGS: '' }

/** Programs that do not answer in the protocol's words are tried all the same: they know best what they can. */
async function versionsOf(
  type: string,
  ask: () => Promise<string>,
  log: CniLog,
): Promise<readonly string[] | undefined> {
  try {
    return parseVersionReply(await ask())
  } catch (error) {
    if (error instanceof CniError && error.code === cniCode.tryAgain) throw error
    const { message } = error as Error
    const versions = versionsOfError(message)
    if (!versions) log.warn({ plugin: type, err: error as Error }, 'a CNI plugin does not say which versions it speaks')
    return versions
  }
}
