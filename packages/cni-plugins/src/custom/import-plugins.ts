// The code of custom plugins: where it is found, and what of it is a plugin.
import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isDefinedPlugin } from '../sdk/define-plugin.ts'
import type { DefinedPlugin } from '../sdk/define-plugin.ts'
import type { PluginSource } from './messages.ts'

/**
 * What a file or package exports that `definePlugin` made. Packages that are not found from where they are wanted are taken
 * from beside this one: a plugin in a folder of its own has this package, and what this one needs.
 *
 * @throws Error when there is none, or whatever the code throws
 */
export async function importPlugins(source: PluginSource): Promise<DefinedPlugin[]> {
  const wanted = 'file' in source ? pathToFileURL(source.file).href : source.name
  const folders = 'file' in source ? [] : source.from.map((folder) => pathToFileURL(join(folder, 'any.js')).href)
  registerHooks({
    resolve: (specifier, context, next) => {
      const isPackage = /^[^./#][^:]*$/.test(specifier)
      if (!isPackage) return next(specifier, context)
      const isWanted = specifier === wanted && context.parentURL === import.meta.url
      const parents = [...(isWanted ? folders : [context.parentURL]), import.meta.url]
      const errors: unknown[] = []
      for (const parentURL of parents) {
        try {
          return next(specifier, { ...context, parentURL })
        } catch (error) {
          errors.push(error)
        }
      }
      throw errors[0]
    },
  })
  const exported = (await import(wanted)) as Record<string, unknown>
  const plugins = [...new Set(Object.values(exported))].filter(isDefinedPlugin)
  if (plugins.length === 0) throw new Error('it exports no plugin that definePlugin made')
  return plugins
}
