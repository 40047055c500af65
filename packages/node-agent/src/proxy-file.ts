// The files of the service proxy: this loads nothing of the other parts, for it may run alone.
import { readFile } from 'node:fs/promises'
import { parseKubeProxyConfiguration } from '@nodelet/proxy-rules'
import type { KubeProxyConfiguration, ProxyFlagValues, UnknownFields } from '@nodelet/proxy-rules'
import { parse } from 'yaml'
import { ConfigError } from './errors.ts'

/** @throws ConfigError */
export async function readYaml(file: string): Promise<object> {
  try {
    return parse(await readFile(file, 'utf8')) as object
  } catch (error) {
    throw new ConfigError(`${file}: ${(error as Error).message}`, { cause: error })
  }
}

/**
 * A KubeProxyConfiguration from a file, if one is named, with flags over it.
 * @param own what this node says where the file does not
 * @param fields what to do about those that nobody knows
 * @throws ConfigError
 */
export async function readProxyFile(
  file: string | undefined,
  flags: ProxyFlagValues = {},
  own: Readonly<Record<string, unknown>> = {},
  fields: UnknownFields = {},
): Promise<KubeProxyConfiguration> {
  const said = file === undefined ? {} : await readYaml(file)
  try {
    return parseKubeProxyConfiguration(overlay(own, said), file ?? 'flags', flags, fields)
  } catch (error) {
    throw error instanceof RangeError ? new ConfigError(error.message, { cause: error }) : error
  }
}

/** Sections are laid over each other field by field. */
function overlay(under: Readonly<Record<string, unknown>>, over: object | null): Record<string, unknown> {
  const result: Record<string, unknown> = { ...under }
  for (const [key, value] of Object.entries(over ?? {})) {
    const isSection = (one: unknown): one is object => typeof one === 'object' && one !== null && !Array.isArray(one)
    const below = result[key]
    result[key] = isSection(below) && isSection(value) ? { ...below, ...value } : value
  }
  return result
}
