// How a plugin's configuration becomes typed: by any Standard Schema (zod, valibot, arktype…) or by a function.
import { CniError, cniCode } from '../errors.ts'
import type { RequestConfig } from '../types.ts'

/** What we use of it. @see https://standardschema.dev */
export interface StandardSchema<Output> {
  readonly '~standard': {
    readonly version: 1
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
  }
}

export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | {
      readonly issues: readonly {
        readonly message: string
        readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
      }[]
    }

/** A function throws what is wrong, best as a CniError. */
export type ConfigSchema<Config> = StandardSchema<Config> | ((config: RequestConfig) => Config)

/** @throws CniError naming the plugin and the field */
export async function typed<Config>(
  schema: ConfigSchema<Config>,
  plugin: string,
  config: RequestConfig,
): Promise<Config> {
  if (typeof schema === 'function') return schema(config)
  const result = await schema['~standard'].validate(config)
  if (!result.issues) return result.value
  const [issue] = result.issues
  const path = (issue?.path ?? []).map((part) => String(typeof part === 'object' ? part.key : part)).join('.')
  throw new CniError(cniCode.badConfig, `${plugin}: ${path ? `${path}: ` : ''}${issue?.message}`)
}
