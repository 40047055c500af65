// Disks of SCSI as the kernel tells of them: sessions with iSCSI targets, their disks, and what several paths to one disk make.
import { watch } from 'node:fs'
import { readdir, readFile, realpath, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { hasCode } from '../../errors.ts'

/** A login at one portal of an iSCSI target. */
export interface IscsiSession {
  /** Of the SCSI host that it is. */
  host: number
  /** In sysfs. */
  folder: string
  /** `HOST:PORT`, by the address that was asked for and by that which answered. */
  portals: readonly string[]
}

/** Sessions with a target. @param iqn undefined: with any */
export async function sessionsWith(iqn: string): Promise<IscsiSession[]> {
  const all = '/sys/class/iscsi_session'
  const found = await Promise.all(
    (await namesIn(all)).map(async (name) => {
      if ((await textOf(join(all, name, 'targetname'))) !== iqn) return []
      const folder = await realpath(join(all, name, 'device')).catch(gone)
      const host = /\/host(\d+)\//.exec(folder ?? '')?.[1]
      if (folder === undefined || host === undefined) return []
      return [{ host: Number(host), folder, portals: await portalsOf(folder) }]
    }),
  )
  return found.flat()
}

async function portalsOf(session: string): Promise<string[]> {
  const names = (await namesIn(session)).filter((name) => name.startsWith('connection'))
  const portals = await Promise.all(
    names.map(async (name) => {
      const connection = join(session, name, 'iscsi_connection', name)
      const pair = async (prefix: string): Promise<string> => {
        const [address = '', port = ''] = await Promise.all(
          ['address', 'port'].map(async (file) => textOf(join(connection, `${prefix}${file}`))),
        )
        return `${address.includes(':') ? `[${address}]` : address}:${port}`
      }
      return Promise.all([pair('persistent_'), pair('')])
    }),
  )
  return portals.flat()
}

/** Names of disks of a session, such as `sda`. @param lun undefined: all of them */
export async function disksOf({ folder }: IscsiSession, lun?: number): Promise<string[]> {
  const targets = (await namesIn(folder)).filter((name) => name.startsWith('target'))
  const disks = await Promise.all(
    targets.map(async (target) => {
      const units = (await namesIn(join(folder, target))).filter((name) =>
        lun === undefined ? /^\d+(:\d+){3}$/.test(name) : name.endsWith(`:${lun}`),
      )
      return Promise.all(units.map(async (unit) => namesIn(join(folder, target, unit, 'block'))))
    }),
  )
  return disks.flat(2)
}

/** Has a SCSI host look for one logical unit, or for all. */
export async function scan(host: number, lun?: number): Promise<void> {
  await writeFile(`/sys/class/scsi_host/host${host}/scan`, lun === undefined ? '- - -' : `0 0 ${lun}`)
}

export async function scanAll(): Promise<void> {
  const hosts = (await namesIn('/sys/class/scsi_host')).map((name) => Number(/^host(\d+)$/.exec(name)?.[1]))
  await Promise.all(hosts.filter(Number.isInteger).map(async (host) => scan(host)))
}

/** The device that multipathd has made of several paths to a disk, such as `dm-0`. @param disk such as `sda` */
export async function multipathOf(disk: string): Promise<string | undefined> {
  for (const name of await namesIn(`/sys/block/${disk}/holders`)) {
    const uuid = await textOf(`/sys/block/${name}/dm/uuid`)
    if (uuid?.startsWith('mpath-')) return name
  }
  return undefined
}

/** Disks that a device is made of. */
export const pathsOf = async (name: string): Promise<string[]> => namesIn(`/sys/block/${name}/slaves`)

/** The kernel forgets the disk; its data are where they were. One that is gone is fine. */
export async function forgetDisk(disk: string): Promise<void> {
  await writeFile(`/sys/block/${disk}/device/delete`, '1').catch(gone)
}

/** Whether a name in `/dev` is a device by now. */
export const isDevice = async (name: string): Promise<boolean> =>
  (await stat(join('/dev', name)).catch(gone))?.isBlockDevice() ?? false

/** The name in `/dev` of the disk that a link leads to; undefined: there is no such link. */
export async function linkedDisk(link: string): Promise<string | undefined> {
  const path = await realpath(link).catch(gone)
  return path !== undefined && dirname(path) === '/dev' ? basename(path) : undefined
}

/** Between looks while `/dev` stays as it is, in milliseconds: who holds a disk changes without a word there. */
const lookMs = 500

/**
 * Waits until something is found, looking again whenever `/dev` changes.
 * @returns undefined when the time is over @throws what `find` throws; the signal's reason
 */
export async function untilFound<T>(
  find: () => Promise<T | undefined>,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<T | undefined> {
  const patience = AbortSignal.timeout(timeoutMs)
  const ended = AbortSignal.any([signal, patience])
  let change = Promise.withResolvers<void>()
  const watcher = watch('/dev', () => change.resolve())
  const wake = (): void => change.resolve()
  ended.addEventListener('abort', wake, { once: true })
  const looking = setInterval(wake, lookMs)
  try {
    for (;;) {
      const found = await find()
      if (found !== undefined) return found
      signal.throwIfAborted()
      if (patience.aborted) return undefined
      await change.promise
      change = Promise.withResolvers()
    }
  } finally {
    clearInterval(looking)
    watcher.close()
    ended.removeEventListener('abort', wake)
  }
}

const gone = (error: unknown): undefined => {
  if (!['ENOENT', 'ENODEV', 'ENXIO', 'ENOTDIR'].some((code) => hasCode(error, code))) throw error
}

export const namesIn = async (path: string): Promise<string[]> => (await readdir(path).catch(gone)) ?? []

const textOf = async (path: string): Promise<string | undefined> => (await readFile(path, 'utf8').catch(gone))?.trim()
