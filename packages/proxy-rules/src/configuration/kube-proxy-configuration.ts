// A KubeProxyConfiguration, read and checked. Pure.
import type { z } from 'zod'
import { applyFlags, type ProxyFlagValues } from './flags.ts'
import { usualPorts, withPort } from './listen-address.ts'
import { kubeProxyConfigurationSchema } from './schema.ts'
import type { DecodedConfiguration, KubeProxyConfiguration } from './types.ts'
import { validateConfiguration } from './validation.ts'

/** What to do about fields that nobody knows. */
export interface UnknownFields {
  /** Told of them all; they are left out, as the Go proxy does, which may be older than its file. Default: they are errors. */
  unknown?: ((problems: readonly string[]) => void) | undefined
}

/**
 * Checks a configuration and completes it.
 * @param source named in errors, for instance the path of the file
 * @param flags of the command line: they win over the configuration
 * @throws RangeError naming every wrong field and its value
 */
export function parseKubeProxyConfiguration(
  input: unknown,
  source: string,
  flags: ProxyFlagValues = {},
  { unknown }: UnknownFields = {},
): KubeProxyConfiguration {
  const said = withoutNulls(input)
  const strict = kubeProxyConfigurationSchema.safeParse(said)
  const unknownAt = strict.error?.issues.filter((issue) => issue.code === 'unrecognized_keys') ?? []
  const known = unknown && unknownAt.length > 0 ? withoutKeys(said, unknownAt) : said
  const decoded = known === said ? strict : kubeProxyConfigurationSchema.safeParse(known)
  if (!decoded.success) throw new RangeError(`${source}: ${problemsOf(decoded.error.issues, known).join('; ')}`)
  if (known !== said) unknown?.(problemsOf(unknownAt, said))
  const { configuration, problems } = applyFlags(withAddresses(decoded.data), flags)
  const wrong = [...problems, ...validateConfiguration(configuration)]
  if (wrong.length > 0) throw new RangeError(`${source}: ${wrong.join('; ')}`)
  // Its words have been checked.
  return configuration as KubeProxyConfiguration
}

type Issue = z.core.$ZodIssue

const problemsOf = (issues: readonly Issue[], said: unknown): string[] =>
  issues.map(({ path, message }) => `${fieldText(path) || '(top)'}${shownAt(said, path)}: ${message}`)

function withoutKeys(said: unknown, issues: readonly z.core.$ZodIssueUnrecognizedKeys[]): unknown {
  const rest = structuredClone(said)
  for (const { path, keys } of issues) {
    const owner = path.reduce<unknown>((object, key) => (object as Record<PropertyKey, unknown>)[key], rest)
    for (const key of keys) delete (owner as Record<string, unknown>)[key]
  }
  return rest
}

/** Go takes a null for what was not said; files that kubeadm writes are full of them. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value
  if (typeof value !== 'object' || value === null) return value ?? {}
  const said = Object.entries(value).filter(([, one]) => one !== null && one !== undefined)
  return Object.fromEntries(said.map(([key, one]) => [key, withoutNulls(one)]))
}

/** Where servers listen follows the family of `bindAddress`; a bare address gets the usual port. */
function withAddresses(configuration: DecodedConfiguration): DecodedConfiguration {
  const isIPv6 = configuration.bindAddress.includes(':')
  const healthz = configuration.healthzBindAddress || (isIPv6 ? '::' : '0.0.0.0')
  const metrics = configuration.metricsBindAddress || (isIPv6 ? '::1' : '127.0.0.1')
  return {
    ...configuration,
    healthzBindAddress: withPort(healthz, usualPorts.healthzBindAddress),
    metricsBindAddress: withPort(metrics, usualPorts.metricsBindAddress),
  }
}

const fieldText = (path: readonly PropertyKey[]): string =>
  path.reduce<string>(
    (text, key) => (typeof key === 'number' ? `${text}[${key}]` : `${text}${text && '.'}${String(key)}`),
    '',
  )

function shownAt(input: unknown, path: readonly PropertyKey[]): string {
  const value = path.reduce<unknown>(
    (object, key) => (object as Record<PropertyKey, unknown> | null | undefined)?.[key],
    input,
  )
  return value === undefined || typeof value === 'object' ? '' : ` ${JSON.stringify(value)}`
}
