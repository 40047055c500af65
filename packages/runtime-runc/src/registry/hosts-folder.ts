// A folder of registries' hosts, as containerd's `config_path`. Read anew for each pull.
import { readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { CriError } from '@nodelet/cri-api'
import { isMissing, readText } from '../files.ts'
import { hostAt, ownHost, plainSettings } from './host.ts'
import type { HostSettings, KeyPair, RegistryHost } from './host.ts'
import { parseHostsFile } from './hosts-file.ts'
import type { HostEntry } from './hosts-file.ts'

/** Names that a registry's folder may have, best first. */
export function folderNames(domain: string): string[] {
  const port = /^(.+):(\d+)$/.exec(domain)
  return [...(port ? [`${port[1]}_${port[2]}_`] : []), domain, '_default']
}

/**
 * The hosts that serve a registry, in the order to try.
 * @param configPath folder of folders, or several with colons between; undefined: there is none
 * @throws CriError that names the file and what is wrong in it
 */
export async function hostsOf(
  domain: string,
  configPath: string | undefined,
  isPlain?: boolean,
): Promise<RegistryHost[]> {
  for (const root of configPath?.split(':').filter(Boolean) ?? []) {
    for (const name of folderNames(domain)) {
      const folder = join(root, name)
      const names = await namesIn(folder)
      if (names) return hostsIn(folder, names, domain, isPlain)
    }
  }
  return [ownHost(domain, plainSettings, isPlain)]
}

async function hostsIn(
  folder: string,
  names: readonly string[],
  domain: string,
  isPlain: boolean | undefined,
): Promise<RegistryHost[]> {
  const file = join(folder, 'hosts.toml')
  const text = (await readText(file)) ?? ''
  // An empty file counts as none.
  if (text === '') return [ownHost(domain, await settingsOfNames(folder, names), isPlain)]
  const entries = parseHostsFile(text, file)
  return Promise.all(
    entries.map(async (entry) => {
      const settings = await settingsOf(entry, folder, file)
      if (entry.address !== undefined) return hostAt(entry.address, domain, settings, entry.overridePath)
      const own = ownHost(domain, settings, isPlain)
      return entry.skipVerify === false ? { ...own, skipVerify: false } : own
    }),
  )
}

async function settingsOf(entry: HostEntry, folder: string, file: string): Promise<HostSettings> {
  const read = async (name: string, key: string): Promise<string> => pemOf(resolve(folder, name), `${file}: ${key}`)
  return {
    capabilities: entry.capabilities,
    ca: await Promise.all(entry.ca.map(async (name) => read(name, 'ca'))),
    client: await Promise.all(
      entry.client.map(async ({ cert, key }) => ({ cert: await read(cert, 'client'), key: await read(key, 'client') })),
    ),
    skipVerify: entry.skipVerify ?? false,
    headers: entry.headers,
    ...(entry.dialTimeout === undefined ? {} : { dialTimeout: entry.dialTimeout }),
  }
}

/** Docker's way: `*.crt` are authorities, `NAME.cert` with `NAME.key` prove who we are. */
async function settingsOfNames(folder: string, names: readonly string[]): Promise<HostSettings> {
  const read = async (name: string): Promise<string> => pemOf(join(folder, name), folder)
  const ending = (end: string): string[] => names.filter((name) => name.endsWith(end)).toSorted()
  const bare = new Set(ending('.cert').map((name) => name.slice(0, -'.cert'.length)))
  const lone = ending('.key').find((name) => !bare.has(name.slice(0, -'.key'.length)))
  if (lone !== undefined) {
    throw new CriError('UNKNOWN', `${join(folder, lone)}: a key without its certificate: put NAME.cert beside NAME.key`)
  }
  for (const name of bare) {
    if (names.includes(`${name}.key`)) continue
    throw new CriError('UNKNOWN', `${join(folder, name)}.cert: a certificate without ${name}.key beside it`)
  }
  const pair = async (name: string): Promise<KeyPair> => ({
    cert: await read(`${name}.cert`),
    key: await read(`${name}.key`),
  })
  const [ca, client] = await Promise.all([Promise.all(ending('.crt').map(read)), Promise.all([...bare].map(pair))])
  return { ...plainSettings, ca, client }
}

async function pemOf(path: string, what: string): Promise<string> {
  try {
    const text = await readFile(path, 'utf8')
    if (!text.includes('-----BEGIN ')) throw new Error('has no PEM')
    return text
  } catch (cause) {
    throw new CriError('UNKNOWN', `${what}: ${JSON.stringify(path)}: ${(cause as Error).message}`, { cause })
  }
}

async function namesIn(folder: string): Promise<string[] | undefined> {
  try {
    return await readdir(folder)
  } catch (cause) {
    if (isMissing(cause)) return undefined
    throw new CriError('UNKNOWN', `${folder}: ${(cause as Error).message}`, { cause })
  }
}
