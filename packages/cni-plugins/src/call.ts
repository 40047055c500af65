// What plugins are called with, and the names of what failed.
import { CniError, cniCode } from './errors.ts'
import type { CniResult, NetworkList, PluginCall, PluginConfig, PodNetwork } from './types.ts'

export function callOf(
  list: NetworkList,
  plugin: PluginConfig,
  network: PodNetwork,
  prevResult?: CniResult,
): PluginCall {
  const offered: Record<string, unknown> = { ...network.capabilityArgs, portMappings: network.portMappings }
  const runtimeConfig = Object.fromEntries(
    Object.entries(offered).filter(([name, value]) => plugin.capabilities?.[name] && value !== undefined),
  )
  const { name, cniVersion } = list
  const config = { ...plugin, name, cniVersion, ...(Object.keys(runtimeConfig).length > 0 && { runtimeConfig }) }
  return { network, config, ...(prevResult && { prevResult }) }
}

export function named(error: unknown, { type }: PluginConfig, verb: string): CniError {
  const { message } = error as Error
  const code = error instanceof CniError ? error.code : cniCode.internal
  return new CniError(code, `plugin type="${type}" failed (${verb}): ${message}`, { cause: error })
}

/** One error of several, or nothing. */
export function throwAll(errors: readonly Error[]): void {
  if (errors.length === 1) throw errors[0]
  if (errors.length > 1) throw new AggregateError(errors, errors.map(({ message }) => message).join('; '))
}

/** @throws CniError naming the value */
export function checkNetwork({ containerId, ifName }: Pick<PodNetwork, 'containerId' | 'ifName'>): void {
  if (!/^[a-zA-Z0-9][\w.-]*$/.test(containerId)) {
    throw new CniError(cniCode.badEnvironment, `invalid container ID: ${JSON.stringify(containerId)}`)
  }
  if (!/^[^/:\s]{1,15}$/.test(ifName) || ifName === '.' || ifName === '..') {
    throw new CniError(cniCode.badEnvironment, `invalid interface name: ${JSON.stringify(ifName)}`)
  }
}
