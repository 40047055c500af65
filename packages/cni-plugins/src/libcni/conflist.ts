// Network lists: parsed and checked. Pure.
import { z } from 'zod'
import { checked, parsedJson } from '../checked.ts'
import { CniError, cniCode } from '../errors.ts'
import type { NetworkList, PluginConfig } from '../types.ts'
import { namePattern, pluginName } from './names.ts'
import { cniVersions, highestKnown, isVersion } from './versions.ts'

export const name: z.ZodType<string> = z
  .string('must be given')
  .regex(namePattern, 'must be letters, digits, "_", "." and "-"')
/** One plugin's object. */
export const pluginSchema: z.ZodType<PluginConfig> = z.looseObject({
  type: z.string('must be given').regex(pluginName, 'must be the name of a plugin'),
  capabilities: z.record(z.string(), z.boolean()).optional(),
})
const version = z.string().refine((text) => text === '' || isVersion(text), 'must be a version such as 1.0.0')
const flag = z
  .union([z.boolean(), z.string().regex(/^(true|false)$/i, 'must be true or false')], 'must be true or false')
  .transform((value) => String(value).toLowerCase() === 'true')
  .default(false)
const listSchema = z.looseObject({
  name,
  cniVersion: version.default(''),
  cniVersions: z.array(version).default([]),
  disableCheck: flag,
  disableGC: flag,
  loadOnlyInlinedPlugins: flag,
  plugins: z.array(pluginSchema).min(1, 'must not be empty').optional(),
})

/** What a file says; more plugins may be in files beside it. */
export interface ListFile {
  list: NetworkList
  /** Whether files of the folder that has the network's name belong to it. */
  takesFolder: boolean
}

/** @param file for messages. @throws CniError naming the file and the field */
export function parseListFile(content: string, file: string): ListFile {
  const value = parsedJson(file, content)
  const { plugins, loadOnlyInlinedPlugins, disableCheck, disableGC, ...rest } = checked(file, listSchema, value)
  // A file of one plugin is a list of one.
  const single = !plugins && 'type' in rest ? [checked(file, pluginSchema, value)] : undefined
  if (loadOnlyInlinedPlugins && !plugins) {
    throw new CniError(cniCode.badConfig, `${file}: loadOnlyInlinedPlugins: there are no plugins in it`)
  }
  const list = {
    name: rest.name,
    cniVersion: versionOf([rest.cniVersion, ...rest.cniVersions], file),
    plugins: (plugins ?? single ?? []) as PluginConfig[],
    ...(disableCheck && { disableCheck }),
    ...(disableGC && { disableGC }),
    file,
  }
  return { list, takesFolder: !single && !loadOnlyInlinedPlugins }
}

/** The list with the plugins of files beside it, in their order. @throws CniError naming file and field, or that there are none */
export function withPlugins(list: NetworkList, beside: readonly { file: string; content: string }[]): NetworkList {
  const more = beside.map(({ file, content }) => checked(file, pluginSchema, parsedJson(file, content)) as PluginConfig)
  const plugins = [...list.plugins, ...more]
  if (plugins.length === 0) throw new CniError(cniCode.badConfig, `${list.file}: has neither plugins nor a type`)
  return { ...list, plugins }
}

/** A list that is whole in one file. @param file for messages. @throws CniError naming the file and the field */
export function parseNetworkList(content: string, file: string): NetworkList {
  return withPlugins(parseListFile(content, file).list, [])
}

/** Of several the highest that we know; absent: 0.1.0. */
function versionOf(offered: readonly string[], file: string): string {
  const said = offered.filter((text) => text !== '')
  const known = highestKnown(said.length > 0 ? said : ['0.1.0'])
  if (known) return known
  throw new CniError(
    cniCode.badConfig,
    `${file}: cniVersion ${said.map((text) => JSON.stringify(text)).join(', ')}: known are ${cniVersions.join(', ')}`,
  )
}
