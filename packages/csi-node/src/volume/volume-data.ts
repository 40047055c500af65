// `vol_data.json`: what is mounted, in the words of the Go kubelet. It is there whole or not at all, whenever the machine stops.
import { constants } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { hasCode } from '../errors.ts'

/** Fields that it may have; a staged volume has but driver and handle. */
export interface VolumeData {
  driverName: string
  volumeHandle: string
  specVolID?: string
  nodeName?: string
  attachmentID?: string
  /** `Persistent` or `Ephemeral`. */
  volumeLifecycleMode?: string
  seLinuxMountContext?: string
}

const goEscapes: Record<string, string> = { '<': '\\u003c', '>': '\\u003e', '&': '\\u0026' }

/** As Go's encoder writes a map. */
export function printVolumeData(data: VolumeData): string {
  const sorted = Object.fromEntries(Object.entries(data).toSorted(([a], [b]) => (a < b ? -1 : 1)))
  return `${JSON.stringify(sorted).replace(/[<>&]/g, (character) => goEscapes[character] ?? character)}\n`
}

/** Makes the folder when it is missing, not those above it that are another's: mode 0750. */
export async function writeVolumeData(path: string, data: VolumeData): Promise<void> {
  const folder = dirname(path)
  await mkdir(folder, { recursive: true, mode: 0o750 })
  const temporary = temporaryOf(path)
  await removeHalf(path)
  {
    await using file = await open(temporary, 'wx', 0o600)
    await file.writeFile(printVolumeData(data))
    await file.sync()
  }
  await rename(temporary, path)
  await using parent = await open(folder)
  await parent.sync()
}

/** Undefined when there is none, or one that a crash left empty or broken. */
export async function readVolumeData(path: string): Promise<VolumeData | undefined> {
  let text: string
  try {
    // A link is none of ours, nor is what one could wait for.
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const stats = await file.stat()
    if (!stats.isFile() || stats.size > mostBytes) return undefined
    text = await file.readFile('utf8')
  } catch (error) {
    if (notThere.some((code) => hasCode(error, code))) return undefined
    throw error
  }
  try {
    const data: unknown = JSON.parse(text)
    return isVolumeData(data) ? data : undefined
  } catch {
    return undefined // What it said is found out otherwise, or its volume is cleaned by force.
  }
}

const mostBytes = 1 << 20
const notThere = ['ENOENT', 'ENOTDIR', 'EISDIR', 'ELOOP', 'ENXIO']

function isVolumeData(data: unknown): data is VolumeData {
  if (typeof data !== 'object' || data === null) return false
  const fields = data as Record<string, unknown>
  const isName = (field: string): boolean => typeof fields[field] === 'string' && fields[field] !== ''
  const isText = (field: string): boolean => ['string', 'undefined'].includes(typeof fields[field])
  if (!['specVolID', 'volumeLifecycleMode', 'seLinuxMountContext'].every(isText)) return false
  return isName('driverName') && isName('volumeHandle') && !/[/\0]/.test(fields['driverName'] as string)
}

const temporaryOf = (path: string): string => `${path}.tmp`

/** Of one that a kill kept from its place. */
export async function removeHalf(path: string): Promise<void> {
  try {
    await rm(temporaryOf(path), { force: true })
  } catch (error) {
    if (!hasCode(error, 'ENOTDIR') && !hasCode(error, 'ERR_FS_EISDIR')) throw error
  }
}

export async function removeVolumeData(path: string): Promise<void> {
  await removeHalf(path)
  await rm(path, { force: true })
}
