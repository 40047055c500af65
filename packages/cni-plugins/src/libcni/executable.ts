// A plugin that is a program.
import { stat } from 'node:fs/promises'
import { delimiter } from 'node:path'
import { CniError, cniCode } from '../errors.ts'
import type { CniLog, Host, Plugin, PluginRequest, RequestConfig } from '../types.ts'
import { printArgs } from './cni-args.ts'
import { findPlugin, runPlugin, shown } from './program.ts'
import type { Command } from './program.ts'
import { parseResult } from './parse-result.ts'
import { toVersion } from './print-result.ts'
import { parseVersionReply, versionEnv, versionInput, versionsOfError } from './version-reply.ts'
import { delKnowsResultSince, isBefore, sinceVersion } from './versions.ts'

/** Plugins by their type, each with what is known of its program. */
export function openExecutables(binDirs: readonly string[]): (type: string) => Plugin {
  const known = new Map<string, Plugin>()
  return (type) => {
    const plugin = known.get(type) ?? executablePlugin(type, binDirs)
    known.set(type, plugin)
    return plugin
  }
}

export function executablePlugin(type: string, binDirs: readonly string[]): Plugin {
  /** Of one state of the file. */
  let versions: { of: string; are: readonly string[] | undefined } | undefined

  const run = async (
    command: Command,
    env: Record<string, string>,
    input: object,
    { log, netns }: Pick<Host, 'log' | 'netns'>,
    signal: AbortSignal,
  ): Promise<string> => {
    const program = await findPlugin(type, binDirs)
    const onStderr = (text: string): void => log.warn({ plugin: type, command }, text)
    const all = { ...noAttachment, CNI_PATH: binDirs.join(delimiter), ...env }
    return runPlugin({ type, program, command, env: all, input, netns, onStderr }, signal)
  }
  const runFor = async (
    command: 'ADD' | 'DEL' | 'CHECK',
    { network, config, prevResult }: PluginRequest,
    host: Host,
    signal: AbortSignal,
  ): Promise<string> => {
    const env = {
      CNI_CONTAINERID: network.containerId,
      CNI_NETNS: network.netns,
      CNI_IFNAME: network.ifName,
      CNI_ARGS: printArgs(network.args),
    }
    const isTold = command !== 'DEL' || !isBefore(config.cniVersion, delKnowsResultSince)
    const before = prevResult && isTold && { prevResult: toVersion(prevResult, config.cniVersion) }
    return run(command, env, { ...config, ...before }, host, signal)
  }

  return {
    versions: async (host, signal) => {
      const program = await findPlugin(type, binDirs)
      const { ino, size, mtimeMs } = await stat(program)
      const of = `${program}:${ino}:${size}:${mtimeMs}`
      if (versions?.of !== of) {
        const ask = async (): Promise<string> => run('VERSION', versionEnv, versionInput, host, signal)
        versions = { of, are: await versionsOf(type, ask, host.log) }
      }
      return versions.are
    },
    add: async (request, host, signal) => {
      const out = await runFor('ADD', request, host, signal)
      return parseResult(`plugin "${type}"`, parsedJson(type, out), request.config.cniVersion)
    },
    check: async (request, host, signal) => void (await runFor('CHECK', request, host, signal)),
    del: async (request, host, signal) => void (await runFor('DEL', request, host, signal)),
    gc: async (config, valid, host, signal) => {
      if (isBefore(config.cniVersion, sinceVersion.GC)) return
      const attachments = valid.map(({ containerId, ifName }) => ({ containerID: containerId, ifname: ifName }))
      // The second is an old spelling.
      const input = { ...config, 'cni.dev/valid-attachments': attachments, 'cni.dev/attachments': attachments }
      await run('GC', {}, input, host, signal)
    },
    status: async (config: RequestConfig, host, signal) => {
      if (isBefore(config.cniVersion, sinceVersion.STATUS)) await findPlugin(type, binDirs)
      else await run('STATUS', {}, config, host, signal)
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

function parsedJson(type: string, out: string): unknown {
  try {
    return JSON.parse(out)
  } catch (cause) {
    throw new CniError(cniCode.decoding, `plugin "${type}" succeeded but its result ${shown(out)} is not JSON`, {
      cause,
    })
  }
}
