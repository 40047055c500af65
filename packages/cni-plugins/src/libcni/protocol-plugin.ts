// A plugin outside of this process, by the protocol of programs. @see CNI spec 1.1, section 2
import { CniError, cniCode } from '../errors.ts'
import type { Host, Plugin, PluginRequest } from '../types.ts'
import { printArgs } from './cni-args.ts'
import { parseResult } from './parse-result.ts'
import { toVersion } from './print-result.ts'
import { shown } from './program.ts'
import type { Command } from './program.ts'
import { delKnowsResultSince, isBefore, sinceVersion } from './versions.ts'

/** One call: what the plugin prints. Rejected with what it says, or with how it failed. */
export type Exchange = (
  command: Command,
  env: Record<string, string>,
  input: object,
  host: Host,
  signal: AbortSignal,
) => Promise<string>

/** All verbs but VERSION. Those that the network's version does not have are not sent. */
export function protocolPlugin(type: string, run: Exchange): Omit<Plugin, 'versions'> {
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
    status: async (config, host, signal) => {
      if (!isBefore(config.cniVersion, sinceVersion.STATUS)) await run('STATUS', {}, config, host, signal)
    },
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
