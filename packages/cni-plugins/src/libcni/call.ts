// What plugins are called with, and the names of what failed.
import { shown } from '../checked.ts'
import { CniError, cniCode, isCniError } from '../errors.ts'
import type { AttachmentKey, CniResult, NetworkList, PluginConfig, PluginRequest, PodNetwork } from '../types.ts'
import type { RequestConfig } from '../types.ts'
import { argsOf } from './cni-args.ts'
import { isLinkName, namePattern } from './names.ts'

/** The plugin's object as it is sent. */
export const configOf = ({ name, cniVersion }: NetworkList, plugin: PluginConfig): RequestConfig => ({
  ...plugin,
  name,
  cniVersion,
})

export function requestOf(
  list: NetworkList,
  plugin: PluginConfig,
  network: PodNetwork,
  prevResult?: CniResult,
): PluginRequest {
  const { portMappings, capabilityArgs } = network
  const offered: Record<string, unknown> = { ...capabilityArgs, ...(portMappings && { portMappings }) }
  const runtimeConfig = Object.fromEntries(
    Object.entries(offered).filter(([name, value]) => plugin.capabilities?.[name] === true && value !== undefined),
  )
  const { containerId, netns, ifName } = network
  return {
    network: { containerId, netns, ifName, args: argsOf(network) },
    config: { ...configOf(list, plugin), ...(Object.keys(runtimeConfig).length > 0 && { runtimeConfig }) },
    ...(prevResult && { prevResult }),
  }
}

export function named(error: unknown, { type }: PluginConfig, verb: string): CniError {
  const { message } = error as Error
  const code = isCniError(error) ? error.code : cniCode.internal
  return new CniError(code, `plugin type="${type}" failed (${verb}): ${message}`, { cause: error })
}

/** One error of several, or nothing. */
export function throwAll(errors: readonly Error[]): void {
  if (errors.length === 1) throw errors[0]
  if (errors.length > 1) throw new AggregateError(errors, errors.map(({ message }) => message).join('; '))
}

/** @throws CniError naming the value */
export function checkAttachment({ containerId, ifName }: AttachmentKey): void {
  if (!namePattern.test(containerId)) {
    throw new CniError(cniCode.badEnvironment, `invalid container ID: ${shown(containerId)}`)
  }
  if (!isLinkName(ifName)) {
    throw new CniError(cniCode.badEnvironment, `invalid interface name: ${shown(ifName)}`)
  }
}
