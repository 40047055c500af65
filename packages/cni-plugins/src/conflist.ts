// Network lists: found, parsed, checked.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { CniError, cniCode } from './errors.ts'
import type { NetworkList, PluginConfig } from './types.ts'

/** The versions that we speak, oldest first. */
export const cniVersions = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const

const name = z.string().regex(/^[a-zA-Z0-9][\w.-]*$/, 'must be letters, digits, "_", "." and "-"')
const pluginSchema = z.looseObject({
  type: z.string().regex(/^[^/\s]+$/, 'must be the name of a plugin'),
  capabilities: z.record(z.string(), z.boolean()).optional(),
})
const listSchema = z.looseObject({
  name,
  cniVersion: z.string().default('0.1.0'),
  plugins: z.array(pluginSchema).min(1).optional(),
})

/** @param file for messages. @throws CniError naming the file, the field and the value */
export function parseNetworkList(content: string, file: string): NetworkList {
  let value: unknown
  try {
    value = JSON.parse(content)
  } catch (cause) {
    throw new CniError(cniCode.decoding, `${file}: ${(cause as Error).message}`, { cause })
  }
  const parsed = listSchema.safeParse(value)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new CniError(cniCode.badConfig, `${file}: ${issue?.path.join('.')}: ${issue?.message}`)
  }
  const { plugins, name: called, cniVersion } = parsed.data
  if (!(cniVersions as readonly string[]).includes(cniVersion)) {
    throw new CniError(
      cniCode.badConfig,
      `${file}: cniVersion ${JSON.stringify(cniVersion)}: known are ${cniVersions.join(', ')}`,
    )
  }
  // A file of one plugin is a list of one.
  const single = plugins ? undefined : pluginSchema.safeParse(value)
  if (single && !single.success) throw new CniError(cniCode.badConfig, `${file}: neither plugins nor a type`)
  return { name: called, cniVersion, plugins: (plugins ?? [single?.data]) as PluginConfig[], file }
}

/** The first list of a folder, in order of the file names; undefined when there is none. */
export async function findNetworkList(folder: string): Promise<NetworkList | undefined> {
  let names: string[]
  try {
    names = await readdir(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const [first] = names.filter((file) => /\.(conf|conflist|json)$/.test(file)).toSorted()
  if (first === undefined) return undefined
  const path = join(folder, first)
  return parseNetworkList(await readFile(path, 'utf8'), path)
}

/** A network of pods behind this machine: a bridge with addresses of its own, masquerading, and host ports. */
export function defaultNetwork(options: { name?: string; bridge?: string; subnets: readonly string[] }): object {
  const { name: called = 'nodelet', bridge = 'cni0', subnets } = options
  const families = [...new Set(subnets.map((subnet) => subnet.includes(':')))]
  return {
    cniVersion: '1.0.0',
    name: called,
    plugins: [
      {
        type: 'bridge',
        bridge,
        isGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam: {
          type: 'host-local',
          ranges: subnets.map((subnet) => [{ subnet }]),
          routes: families.map((isV6) => ({ dst: isV6 ? '::/0' : '0.0.0.0/0' })),
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  }
}
