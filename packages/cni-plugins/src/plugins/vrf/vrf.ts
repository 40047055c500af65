// vrf: a pod's link with a routing table of its own.
import { isNamespacePinned, openNetlink } from '@nodelet/linux'
import type { Link, Netlink, NewRoute } from '@nodelet/linux'
import { z } from 'zod'
import { CniError, cniCode } from '../../errors.ts'
import { checked } from '../../checked.ts'
import { common } from '../../interface/config.ts'
import { u32 } from '../../fields.ts'
import { needing, onTrial } from '../../kernel-feature.ts'
import { versionsSince } from '../../libcni/versions.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin } from '../../sdk/define-plugin.ts'
import type { CniResult } from '../../types.ts'
import { undo } from '../../undo.ts'

interface VrfConfig {
  vrfname: string
  /** Undefined: the first that no vrf of the namespace has. */
  table?: number | undefined
}

const schema = z.object({
  vrfname: common.linkName,
  table: u32.nullish(),
})

export const vrf: DefinedPlugin = definePlugin<VrfConfig>({
  name: 'vrf',
  versions: versionsSince('0.3.1'),
  config: (config) => {
    const { vrfname, table } = checked('vrf', schema, config)
    return { vrfname, table: table || undefined }
  },
  async add({ config, network: { netns, ifName }, prevResult }, host) {
    if (!prevResult) throw new CniError(cniCode.badConfig, 'vrf: missing prevResult from earlier plugin')
    using inside = openNetlink({ netns })
    const link = await inside.links.get(ifName)
    if (!link) throw wrong(`could not get link by name ${ifName}`)
    if (link.master !== undefined) {
      const master = await inside.links.get(link.master)
      throw wrong(`interface ${ifName} has already a master set: ${master?.name}`)
    }
    const { index, table, isNew } = await ensureVrf(inside, config)
    try {
      const moved = await enslave(inside, link, index, table)
      return withTable(prevResult, table, moved)
    } catch (error) {
      await undo(
        host,
        async () => inside.links.set(link.index, { master: null }),
        async () => isNew && inside.links.delete(index),
      )
      throw error
    }
  },

  async del({ config: { vrfname }, network: { netns, ifName } }) {
    if (!isNamespacePinned(netns)) return
    using inside = openNetlink({ netns })
    const { links } = inside
    const found = await links.get(vrfname)
    if (found?.kind !== 'vrf') return
    const link = await links.get(ifName)
    if (link?.master === found.index) await setMaster(inside, link.index, null)
    if ((await links.list({ master: found.index })).length === 0) await links.delete(found.index)
  },

  async check({ config, network: { netns, ifName } }) {
    using inside = openNetlink({ netns })
    const found = await findVrf(inside, config)
    if (!found) throw wrong(`there is no ${config.vrfname}`)
    const link = await inside.links.get(ifName)
    if (link?.master !== found.index) throw wrong(`Failed to find ${ifName} associated to vrf ${config.vrfname}`)
  },

  async status() {
    isKnown ??= onTrial(async ({ links }) => {
      await needing('vrf', links.add({ kind: 'vrf', name: 'trial', table: 1 }))
    })
    try {
      await isKnown
    } catch (error) {
      isKnown = undefined
      throw error
    }
  },
})

/** What a kernel knows once it goes on knowing. */
let isKnown: Promise<void> | undefined

const wrong = (message: string): CniError => new CniError(cniCode.internal, `vrf: ${message}`)

interface FoundVrf {
  index: number
  table: number
}

/** @throws CniError where the name is another link's, or the vrf has another table */
async function findVrf({ links }: Netlink, { vrfname, table }: VrfConfig): Promise<FoundVrf | undefined> {
  const found = await links.get(vrfname)
  if (!found) return undefined
  if (found.details?.kind !== 'vrf') throw wrong(`Netlink ${vrfname} is not a VRF`)
  const own = found.details.table
  if (table !== undefined && table !== own)
    throw wrong(`VRF ${vrfname} already exist with different routing table ${own}`)
  return { index: found.index, table: own }
}

async function ensureVrf(inside: Netlink, config: VrfConfig): Promise<FoundVrf & { isNew: boolean }> {
  const found = await findVrf(inside, config)
  if (found) return { ...found, isNew: false }
  const table = config.table ?? (await freeTable(inside))
  const { index } = await needing('vrf', inside.links.add({ kind: 'vrf', name: config.vrfname, table, up: true }))
  return { index, table, isNew: true }
}

async function freeTable({ links }: Netlink): Promise<number> {
  const used = new Set(
    (await links.list({ kind: 'vrf' })).map(({ details }) => details?.kind === 'vrf' && details.table),
  )
  let table = 1
  while (used.has(table)) table += 1
  return table
}

/** The kernel takes a link down and up again by that: the addresses that it loses are given back. */
async function setMaster({ links, addresses }: Netlink, link: number, master: number | null): Promise<void> {
  const before = await addresses.list({ link, family: 6 })
  await links.set(link, { master })
  const after = (await addresses.list({ link, family: 6 })).map(({ address }) => address)
  for (const { address, scope } of before) {
    if (!after.includes(address)) await addresses.add(link, { address, scope, flags: { noDad: true } })
  }
}

/** @returns the destinations of routes that were moved */
async function enslave(inside: Netlink, { index: link }: Link, master: number, table: number): Promise<Set<string>> {
  const routes = (await inside.routes.list({ link })).filter(
    ({ scope, protocol }) => scope === 'global' && protocol !== 'kernel',
  )
  await setMaster(inside, link, master)
  for (const { index, nextHops, family: _, ...route } of routes) {
    const moved: NewRoute = {
      ...route,
      table,
      ...(index !== undefined && { link: index }),
      ...(nextHops && { nextHops: nextHops.map(({ index: hopLink, ...hop }) => ({ ...hop, link: hopLink })) }),
    }
    await inside.routes.add(moved, 'replace')
  }
  return new Set(routes.map(({ destination }) => destination))
}

/** The result with the table that its routes are in by now. */
const withTable = (result: CniResult, table: number, moved: ReadonlySet<string>): CniResult => ({
  ...result,
  routes: result.routes.map((route) =>
    route.table === undefined && moved.has(route.dst) ? { ...route, table } : route,
  ),
})
