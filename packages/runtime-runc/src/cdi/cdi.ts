// The devices that vendors describe in folders of this machine.
import { readdir, readFile, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { isMissing } from '../files.ts'
import { SpecError } from '../spec/errors.ts'
import { completeNode } from './nodes.ts'
import type { CdiDeviceNode } from './nodes.ts'
import { parseCdiFile } from './schema.ts'
import type { CdiEdits, CdiFile } from './schema.ts'

/** Where vendors put their files; a later folder wins. */
export const CDI_SPEC_DIRS: readonly string[] = ['/etc/cdi', '/var/run/cdi']
const MAX_BYTES = 4 << 20

/** Edits whose nodes are complete. */
export type ResolvedEdits = Omit<CdiEdits, 'deviceNodes'> & { deviceNodes?: CdiDeviceNode[] }

export interface Cdi {
  /**
   * The edits of devices, in order, each behind those of its file. Files that changed are read again.
   *
   * @throws SpecError when a device is in no file, or in two of one folder, or its nodes are not on this machine
   */
  resolve(names: readonly string[]): Promise<ResolvedEdits[]>
}

interface Loaded {
  version: string
  file?: CdiFile
  problem?: string
}

/** What is known of a device: the file that has it, or why none can be taken. */
interface Found {
  folder: string
  path: string
  file: CdiFile
  edits: CdiEdits
  twin?: string
}

/** Reads nothing before it is asked. */
export function createCdi(dirs: readonly string[] = CDI_SPEC_DIRS): Cdi {
  let cache = new Map<string, Loaded>()

  async function load(): Promise<{ devices: Map<string, Found>; problems: string[] }> {
    const devices = new Map<string, Found>()
    const problems: string[] = []
    const next = new Map<string, Loaded>()
    for (const folder of dirs) {
      for (const path of await filesIn(folder)) {
        const loaded = await read(path, cache.get(path))
        if (!loaded) continue
        next.set(path, loaded)
        if (loaded.problem !== undefined) problems.push(`${path}: ${loaded.problem}`)
        if (loaded.file) addDevices(devices, folder, path, loaded.file)
      }
    }
    cache = next
    return { devices, problems }
  }

  return {
    resolve: async (names) => {
      if (names.length === 0) return []
      const { devices, problems } = await load()
      const missing = names.filter((name) => devices.get(name)?.twin !== undefined || !devices.has(name))
      if (missing.length > 0) throw unresolvable(missing, devices, dirs, problems)
      const seen = new Set<CdiFile>()
      const edits = names.flatMap((name) => {
        const found = devices.get(name)
        if (!found) return []
        const common = seen.has(found.file) ? [] : [found.file.containerEdits ?? {}]
        seen.add(found.file)
        return [...common, found.edits]
      })
      return Promise.all(edits.map(completeEdits))
    },
  }
}

function addDevices(devices: Map<string, Found>, folder: string, path: string, file: CdiFile): void {
  for (const device of file.devices) {
    const name = `${file.kind}=${device.name}`
    const other = devices.get(name)
    const found: Found = { folder, path, file, edits: device.containerEdits }
    devices.set(name, other?.folder === folder ? { ...found, twin: other.path } : found)
  }
}

function unresolvable(
  names: readonly string[],
  devices: ReadonlyMap<string, Found>,
  dirs: readonly string[],
  problems: readonly string[],
): SpecError {
  const reasons = names.flatMap((name) => {
    const { twin, path } = devices.get(name) ?? {}
    return twin === undefined ? [] : [`${name} is both in ${twin} and in ${path}: remove one`]
  })
  if (names.length > reasons.length) reasons.push(`no usable file in ${dirs.join(', ')} has them`)
  return new SpecError(`unresolvable CDI devices ${names.join(', ')}: ${[...reasons, ...problems].join('; ')}`)
}

async function completeEdits({ deviceNodes, ...edits }: CdiEdits): Promise<ResolvedEdits> {
  return { ...edits, ...(deviceNodes && { deviceNodes: await Promise.all(deviceNodes.map(completeNode)) }) }
}

async function filesIn(folder: string): Promise<string[]> {
  let names: string[]
  try {
    names = await readdir(folder)
  } catch (error) {
    if (isMissing(error)) return []
    throw error
  }
  return names
    .filter((name) => ['.json', '.yaml'].includes(extname(name)))
    .toSorted()
    .map((name) => join(folder, name))
}

/** Undefined when it is gone meanwhile, or is no file. */
async function read(path: string, former: Loaded | undefined): Promise<Loaded | undefined> {
  try {
    const stats = await stat(path, { bigint: true })
    if (!stats.isFile()) return undefined
    const version = [stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(' ')
    if (former?.version === version) return former
    if (stats.size > MAX_BYTES) return { version, problem: `is larger than ${MAX_BYTES} bytes` }
    const text = await readFile(path, 'utf8')
    try {
      return { version, file: parseCdiFile(await parseText(path, text)) }
    } catch (error) {
      return { version, problem: (error as Error).message }
    }
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

async function parseText(path: string, text: string): Promise<unknown> {
  if (path.endsWith('.json')) return JSON.parse(text)
  const { parse } = await import('yaml')
  // Vendors' tools write YAML 1.1, where 0666 is octal.
  return parse(text, { version: '1.1' })
}
