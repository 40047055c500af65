// Disks of iSCSI targets: the node logs in for the first volume of a target, and out after the last.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hasCode } from '../../errors.ts'
import type { Logger } from '../../log.ts'
import { createTurns } from '../../serial.ts'
import { mountAt } from '../bind.ts'
import { type ChapSecret, createIscsiadm, type Iscsiadm } from './iscsiadm.ts'
import { forgetDisks, isUsed, refuseUsed } from './kind.ts'
import { disksOf, isDevice, type IscsiSession, multipathOf, scan, sessionsWith, untilFound } from './sysfs.ts'
import { iscsiOfFolder, iscsiOfRecord, type IscsiTarget, recordOf, wayOf } from './target.ts'

/** How long a disk may take to be there after a login, in milliseconds; and what multipathd makes of several. */
const deviceMs = 10_000
/** How often ways are tried: until all are there, or enough. */
const [mostAttempts, fewestAttempts, enoughWays] = [5, 2, 2]
/** Beside what is mounted on the folder, or among devices. */
export const iscsiFile = 'iscsi.json'

/** One login or logout of a target at a time. */
const turns = createTurns()

/**
 * Logs in to the target, unless it is, and finds the disk. Safe to run again.
 * @param folder of the disk: what it is is written there before anything is done
 * @returns its path in `/dev`
 * @throws Error in the words of the Go kubelet; the signal's reason
 */
export async function attachIscsi(
  target: IscsiTarget,
  { folder, secret, log }: { folder: string; secret: ChapSecret; log: Logger },
  signal: AbortSignal,
): Promise<string> {
  await keepRecord(folder, target)
  const iscsiadm = createIscsiadm(target, signal, (err) => log.debug({ err, iqn: target.iqn }, 'iscsiadm'))
  return turns.take([target.iqn], async () => {
    const ways = await allWays(target, iscsiadm, secret, signal)
    // A single way is asked once: what multipathd makes of it is there already, or never will be.
    const patienceMs = target.portals.length > 1 ? deviceMs : 0
    const whole = await untilFound(async () => firstMultipath(ways), patienceMs, signal)
    return `/dev/${whole ?? ways[0]}`
  })
}

/** Before the login: whatever happens then, it is known what is to be undone. With the disk mounted over it, it is there already. */
async function keepRecord(folder: string, target: IscsiTarget): Promise<void> {
  if (await mountAt(folder)) return
  await mkdir(folder, { recursive: true, mode: 0o750 })
  const text = `${JSON.stringify(recordOf(target))}\n`
  const path = join(folder, iscsiFile)
  if ((await readFile(path, 'utf8').catch(missing)) === text) return
  await writeFile(path, text)
}

/** @returns names of the disk, by way @throws Error */
async function allWays(
  target: IscsiTarget,
  iscsiadm: Iscsiadm,
  secret: ChapSecret,
  signal: AbortSignal,
): Promise<readonly [string, ...string[]]> {
  await iscsiadm.transport()
  if (target.initiatorName !== '') await iscsiadm.copyWay()
  const found = new Map<string, string>()
  let last: unknown
  for (let attempt = 1; attempt <= mostAttempts; attempt += 1) {
    for (const portal of target.portals.filter((one) => !found.has(one))) {
      try {
        found.set(portal, await diskBy(portal, target, iscsiadm, secret, signal))
      } catch (error) {
        signal.throwIfAborted()
        last = error
      }
    }
    if (found.size === target.portals.length || (found.size >= enoughWays && attempt >= fewestAttempts)) break
    if (found.size === 0) break
  }
  const [first, ...others] = new Set(found.values())
  if (first !== undefined) return [first, ...others]
  await iscsiadm.removeWay()
  throw new Error(`failed to get any path for iscsi disk, last err seen:\n${(last as Error).message}`, { cause: last })
}

async function diskBy(
  portal: string,
  { iqn, lun }: IscsiTarget,
  iscsiadm: Iscsiadm,
  secret: ChapSecret,
  signal: AbortSignal,
): Promise<string> {
  const session = async (): Promise<IscsiSession | undefined> =>
    (await sessionsWith(iqn)).find(({ portals }) => portals.includes(portal))
  if (!(await session())) await iscsiadm.login(portal, secret)
  const there = await session()
  if (!there) throw new Error(`Could not get SCSI host number for portal ${portal} after logging in`)
  // Nobody else's units are looked for.
  await scan(there.host, lun)
  const disk = await untilFound(
    async () => {
      const [name] = await disksOf(there, lun)
      return name !== undefined && (await isDevice(name)) ? name : undefined
    },
    deviceMs,
    signal,
  )
  if (disk === undefined) throw new Error(`Could not attach disk: Timeout after ${deviceMs / 1000}s`)
  return disk
}

async function firstMultipath(disks: readonly string[]): Promise<string | undefined> {
  for (const disk of disks) {
    const made = await multipathOf(disk)
    if (made !== undefined) return made
  }
  return undefined
}

/** What a folder is of: by its record, else by its name; a file of the mounted disk is no record. */
export async function iscsiIn(folder: string): Promise<IscsiTarget | undefined> {
  const text = (await mountAt(folder)) ? undefined : await readFile(join(folder, iscsiFile), 'utf8').catch(missing)
  return (text === undefined ? undefined : iscsiOfRecord(text)) ?? iscsiOfFolder(...folder.split('/').slice(-2))
}

/**
 * Forgets the disk that nothing is mounted from any more, and logs out when it was the last of its target here. Safe to run again.
 * @param others disks that stay
 * @throws Error: somebody still has the disk; then all stays as it is
 */
export async function detachIscsi(
  target: IscsiTarget,
  others: () => Promise<readonly IscsiTarget[]>,
  log: Logger,
): Promise<void> {
  await turns.take([target.iqn], async () => release(target, await others(), log))
}

async function release(target: IscsiTarget, others: readonly IscsiTarget[], log: Logger): Promise<void> {
  const { iqn, lun } = target
  const neighbours = others.filter(
    (one) => one.iqn === iqn && one.portals.some((portal) => target.portals.includes(portal)),
  )
  const sessions = (await sessionsWith(iqn)).filter(({ portals }) =>
    portals.some((one) => target.portals.includes(one)),
  )
  if (!neighbours.some((one) => one.lun === lun)) {
    const disks = (await Promise.all(sessions.map(async (session) => disksOf(session, lun)))).flat()
    await refuseUsed(disks)
    await forgetDisks(disks, log)
  }
  if (neighbours.length > 0) return
  const iscsiadm = createIscsiadm(target, undefined, (err) => log.warn({ err, iqn, iface: wayOf(target) }, 'iscsiadm'))
  // The machine may have disks of the target for itself.
  for (const session of sessions) if (await hasUsed(session)) return
  for (const portal of target.portals) await iscsiadm.logout(portal)
  await iscsiadm.removeWay()
}

async function hasUsed(session: IscsiSession): Promise<boolean> {
  for (const disk of await disksOf(session)) if (await isUsed(disk)) return true
  return false
}

const missing = (error: unknown): undefined => {
  if (!hasCode(error, 'ENOENT')) throw error
}
