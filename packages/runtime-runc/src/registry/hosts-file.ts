// hosts.toml: which hosts serve a registry's images, as containerd's users write it. Checked whole; files unread.
import { CriError } from '@nodelet/cri-api'
import { parse } from 'smol-toml'
import { z } from 'zod'
import { capabilities } from './host.ts'
import type { Capability } from './host.ts'

/** A host as the file has it; names of files are as written. */
export interface HostEntry {
  /** Address; undefined: what the registry's name says. */
  address?: string
  capabilities: readonly Capability[]
  ca: string[]
  /** Pairs of certificate and key; one file may have both. */
  client: { cert: string; key: string }[]
  skipVerify?: boolean
  overridePath: boolean
  dialTimeout?: number
  headers: Record<string, string[]>
}

const units: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
const durationPattern = /^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/

/** Milliseconds of a duration as Go writes it: `1m30s`. */
const milliseconds = (text: string): number =>
  [...text.matchAll(/([\d.]+)(ns|us|µs|ms|s|m|h)/g)].reduce(
    (sum, [, count, unit = '']) => sum + Number(count) * (units[unit] ?? 0),
    0,
  )

const words = z.union([z.string(), z.array(z.string())], { error: 'must be a string or a list of strings' })
const pairs = z.union([z.string(), z.array(z.union([z.string(), z.array(z.string()).min(1).max(2)]))], {
  error: 'must be a file, a list of files or a list of pairs of certificate and key',
})
const fields = {
  capabilities: z
    .array(
      z
        .string()
        .transform((text) => text.toLowerCase())
        .pipe(z.enum(capabilities as [Capability])),
      {
        error: 'must be a list',
      },
    )
    .optional(),
  ca: words.optional(),
  client: pairs.optional(),
  skip_verify: z.boolean({ error: 'must be true or false' }).optional(),
  override_path: z.boolean({ error: 'must be true or false' }).optional(),
  dial_timeout: z
    .string({ error: 'must be a duration such as "5s"' })
    .regex(durationPattern, 'must be a duration such as "5s"')
    .optional(),
  header: z.record(z.string().regex(/^[\w!#$%&'*+.^`|~-]+$/, 'must be the name of a header'), words).optional(),
}
const isAddress = (text: string): boolean => {
  const full = /^https?:\/\//.test(text) ? text : `https://${text}`
  return !/^\w+:\/\//.test(text.replace(/^https?:\/\//, '')) && URL.canParse(full) && new URL(full).username === ''
}
const noAddress = 'must be an address with http, https or no scheme, and no user'
const address = z.string().refine(isAddress, noAddress)
const entrySchema = z.strictObject(fields)
const fileSchema = z.strictObject({
  ...fields,
  server: z
    .string({ error: 'must be the address of a server' })
    .refine((text) => text === '' || isAddress(text), noAddress)
    .optional(),
  host: z.record(address, entrySchema).optional(),
})

/**
 * The hosts of a file, in the order to try: mirrors as written, the server last.
 * @throws CriError UNKNOWN that names the file, the key and the value
 */
export function parseHostsFile(text: string, file: string): HostEntry[] {
  let value: unknown
  try {
    value = parse(text)
  } catch (cause) {
    const { message, line, column } = cause as Error & { line?: number; column?: number }
    const reason = message.split('\n')[0]?.replace('Invalid TOML document: ', '')
    throw new CriError('UNKNOWN', `${file}: not TOML: line ${line}, column ${column}: ${reason}`, { cause })
  }
  const result = fileSchema.safeParse(value)
  if (!result.success) throw new CriError('UNKNOWN', `${file}: ${problemOf(value, result.error.issues[0])}`)
  const { server, host = {}, ...root } = result.data
  return [
    ...Object.entries(host).map(([name, entry]) => ({ address: name, ...entryOf(entry) })),
    { ...(server ? { address: server } : {}), ...entryOf(root) },
  ]
}

function entryOf(entry: z.infer<typeof entrySchema>): HostEntry {
  const list = <T>(given: T | T[] | undefined): T[] => (given === undefined ? [] : ([given].flat() as T[]))
  const clients = typeof entry.client === 'string' ? [entry.client] : (entry.client ?? [])
  return {
    capabilities: entry.capabilities?.length ? entry.capabilities : capabilities,
    ca: list(entry.ca),
    client: clients.map((one) => {
      const [cert = '', key = ''] = [one].flat()
      return { cert, key: key || cert }
    }),
    ...(entry.skip_verify === undefined ? {} : { skipVerify: entry.skip_verify }),
    overridePath: entry.override_path ?? false,
    ...(entry.dial_timeout === undefined ? {} : { dialTimeout: milliseconds(entry.dial_timeout) }),
    headers: Object.fromEntries(Object.entries(entry.header ?? {}).map(([name, given]) => [name, list(given)])),
  }
}

/** What is wrong where: `host."https://mirror".capabilities[0]: …`. */
function problemOf(value: unknown, issue: z.core.$ZodIssue | undefined): string {
  if (issue?.code === 'unrecognized_keys') {
    return `${[nameOf(issue.path), issue.keys.join(', ')].filter(Boolean).join('.')}: no such key`
  }
  if (issue?.code === 'invalid_key') {
    const key = String(issue.path.at(-1))
    return `${nameOf(issue.path.slice(0, -1))} ${JSON.stringify(key)}: ${issue.issues[0]?.message}`
  }
  const at = (issue?.path ?? []).reduce<unknown>((part, key) => (part as Record<PropertyKey, unknown>)?.[key], value)
  const message = issue?.code === 'invalid_value' ? `must be one of ${issue.values.join(', ')}` : issue?.message
  return `${nameOf(issue?.path ?? [])}: ${message}, not ${JSON.stringify(at)}`
}

function nameOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((name, key) => {
    if (typeof key === 'number') return `${name}[${key}]`
    const part = /^[\w-]+$/.test(String(key)) ? String(key) : JSON.stringify(key)
    return name === '' ? part : `${name}.${part}`
  }, '')
}
