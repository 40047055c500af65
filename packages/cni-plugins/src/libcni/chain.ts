// The plugins of a list, one after the other.
import { CniError, cniCode } from '../errors.ts'
import { loopback } from '../plugins/loopback/loopback.ts'
import type { AttachmentKey, CniResult, Host, NetworkList, PluginConfig, PluginRequest } from '../types.ts'
import type { Attachment } from './cache.ts'
import { configOf, named, requestOf, throwAll } from './call.ts'
import { isBefore, sinceVersion } from './versions.ts'

/** @throws CniError when a plugin is missing or does not speak the list's version */
export async function validateChain(
  { plugins, name, cniVersion }: NetworkList,
  host: Host,
  signal: AbortSignal,
): Promise<void> {
  await Promise.all(
    [...new Set(plugins.map(({ type }) => type))].map(async (type) => {
      const versions = await host.plugin(type).versions(host, signal)
      if (!versions || versions.includes(cniVersion)) return
      const known = versions.map((version) => JSON.stringify(version)).join(' ')
      throw new CniError(cniCode.incompatibleVersion, 'incompatible CNI versions', {
        details: `network "${name}" is of "${cniVersion}", plugin "${type}" supports [${known}]`,
      })
    }),
  )
}

/** @param begun gets each plugin before it is called */
export async function addChain(
  { network, list }: Attachment,
  begun: { plugins: PluginConfig[] },
  host: Host,
  signal: AbortSignal,
): Promise<CniResult> {
  await loopback.add(requestOf(list, { type: 'loopback' }, network), host, signal)
  let result: CniResult | undefined
  for (const plugin of list.plugins) {
    begun.plugins.push(plugin)
    try {
      result = await host.plugin(plugin.type).add(requestOf(list, plugin, network, result), host, signal)
    } catch (error) {
      throw named(error, plugin, 'add')
    }
  }
  if (!result) throw new CniError(cniCode.badConfig, `${list.file}: no plugin`)
  await host.settleRules(signal)
  return result
}

/** In reverse, and past those that fail. @throws what all of them said */
export async function delChain(
  { list, network, result }: Attachment,
  host: Host,
  signal: AbortSignal,
  how: Pick<PluginRequest, 'isLost' | 'namespaceGoes'> = {},
): Promise<void> {
  const errors: Error[] = []
  for (const plugin of list.plugins.toReversed()) {
    try {
      await host.plugin(plugin.type).del({ ...requestOf(list, plugin, network, result), ...how }, host, signal)
    } catch (error) {
      errors.push(named(error, plugin, 'delete'))
    }
  }
  await host.settleRules(signal).catch((error: Error) => errors.push(error))
  throwAll(errors)
}

/** @throws what the first that is not content says */
export async function checkChain(
  { list, network, result }: Required<Attachment>,
  host: Host,
  signal: AbortSignal,
): Promise<void> {
  if (isBefore(list.cniVersion, sinceVersion.CHECK)) {
    const message = `configuration version "${list.cniVersion}" does not support the CHECK command`
    throw new CniError(cniCode.incompatibleVersion, message)
  }
  if (list.disableCheck) return
  await validateChain(list, host, signal)
  for (const plugin of list.plugins) {
    try {
      await host.plugin(plugin.type).check(requestOf(list, plugin, network, result), host, signal)
      await host.settleRules(signal) // looks count as changes
    } catch (error) {
      throw named(error, plugin, 'check')
    }
  }
}

/** Past those that fail. @throws what all of them said */
export async function gcChain(
  list: NetworkList,
  valid: readonly AttachmentKey[],
  host: Host,
  signal: AbortSignal,
): Promise<void> {
  const errors: Error[] = []
  for (const plugin of list.plugins) {
    try {
      await host.plugin(plugin.type).gc(configOf(list, plugin), valid, host, signal)
    } catch (error) {
      errors.push(named(error, plugin, 'gc'))
    }
  }
  await host.settleRules(signal).catch((error: Error) => errors.push(error))
  throwAll(errors)
}

/** @throws what the first says that is not ready, as it is: its code matters */
export async function statusChain(list: NetworkList, host: Host, signal: AbortSignal): Promise<void> {
  await validateChain(list, host, signal)
  for (const plugin of list.plugins) await host.plugin(plugin.type).status(configOf(list, plugin), host, signal)
}
