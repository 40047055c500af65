// sbr: source based routing: what is sent from an interface's address leaves by that interface.
import { isNamespacePinned, LinuxError, openNetlink } from '@nodelet/linux'
import type { Netlink, Route } from '@nodelet/linux'
import { CniError, cniCode } from '../../errors.ts'
import { hostPrefix } from '../../host-prefix.ts'
import { withFileLock } from '../../file-lock.ts'
import { podIps } from '../../interface/pod-ips.ts'
import { needing } from '../../kernel-feature.ts'
import { definePlugin } from '../../sdk/define-plugin.ts'
import type { DefinedPlugin, PluginCall } from '../../sdk/define-plugin.ts'
import { undo } from '../../undo.ts'
import { parseSbr } from './config.ts'
import type { SbrConfig } from './config.ts'
import { planReturn, planSbr, withTables } from './plan.ts'
import type { Plan } from './plan.ts'

export const sbr: DefinedPlugin = definePlugin<SbrConfig>({
  name: 'sbr',
  config: parseSbr,
  async add({ config, network: { netns, ifName }, prevResult }, host, signal) {
    if (!prevResult) throw wrong('This plugin must be called as chained plugin', cniCode.badConfig)
    const ips = podIps(prevResult, ifName)
    if (ips.length === 0) throw wrong(`No IP addresses supplied on interface: ${ifName}`, cniCode.badConfig)
    return withFileLock(netns, 'exists', signal, async () => {
      using inside = openNetlink({ netns })
      const link = await inside.links.get(ifName)
      if (!link) throw wrong(`Cannot find network interface ${ifName}`)
      const found = { link: link.index, rules: await rulesOf(inside), routes: await routesOf(inside) }
      const plan = planSbr(ips, config, found)
      const undone: (() => Promise<unknown>)[] = []
      try {
        await perform(inside, plan, undone)
      } catch (error) {
        await undo(host, ...undone.toReversed())
        throw error
      }
      return withTables(prevResult, plan)
    })
  },

  async del(call, _, signal) {
    const { network, namespaceGoes } = call
    if (namespaceGoes || !isNamespacePinned(network.netns)) return
    await withFileLock(network.netns, 'exists', signal, async () => {
      using inside = openNetlink({ netns: network.netns })
      await giveBack(inside, call)
    })
  },

  async check({ config, network: { netns, ifName }, prevResult }) {
    using inside = openNetlink({ netns })
    const [rules, routes] = [await rulesOf(inside), await routesOf(inside)]
    for (const { address } of podIps(prevResult, ifName)) {
      const from = hostPrefix(address)
      const rule = rules.find((one) => one.from === from && (!config.table || one.table === config.table))
      if (!rule) throw wrong(`there is no rule for packets from ${from}`)
      if (!routes.some(({ table }) => table === rule.table)) throw wrong(`table ${rule.table} of ${from} has no routes`)
    }
  },

  async status(_, host) {
    using outside = openNetlink({ netns: host.netns })
    await rulesOf(outside)
  },
})

const wrong = (message: string, code: number = cniCode.internal): CniError => new CniError(code, `sbr: ${message}`)

const rulesOf = async ({ rules }: Netlink): ReturnType<typeof rules.list> => needing('rules', rules.list())
const routesOf = async ({ routes }: Netlink): Promise<Route[]> => routes.list({ table: null })

/** @param undone gets what takes back each step */
async function perform({ rules, routes }: Netlink, plan: Plan, undone: (() => Promise<unknown>)[]): Promise<void> {
  for (const rule of plan.rules) {
    await rules.add(rule)
    undone.push(async () => rules.delete(rule))
  }
  for (const route of plan.added) {
    await routes.add(route, 'replace')
    undone.push(async () => routes.delete(route).catch(unlessGone))
  }
  for (const route of plan.removed) {
    await routes.delete(route)
    undone.push(async () => routes.add(route, 'replace'))
  }
  for (const route of plan.kept) await routes.add(route, 'replace')
}

/** The same route may be planned twice. */
function unlessGone(error: unknown): void {
  if (!(error instanceof LinuxError && error.code === 'ESRCH')) throw error
}

/** Takes the rules of the interface's addresses away; an interface that stays gets its routes back. */
async function giveBack(inside: Netlink, call: PluginCall<SbrConfig>): Promise<void> {
  const { config, network, prevResult } = call
  const link = await inside.links.get(network.ifName)
  const present = link ? await inside.addresses.list({ link: link.index }) : []
  const ips = [...present, ...(prevResult ? podIps(prevResult, network.ifName) : [])]
  const sources = new Set(ips.map(({ address }) => hostPrefix(address)))
  const rules = (await rulesOf(inside)).filter(({ from }) => from !== undefined && sources.has(from))
  for (const rule of rules) await inside.rules.delete(rule)
  if (!link || config.table) return
  const tables = new Set(rules.flatMap(({ table }) => table ?? []))
  const destinations = new Set(prevResult?.routes.map(({ dst }) => dst))
  const { removed, kept } = planReturn(await routesOf(inside), link.index, tables, destinations)
  for (const route of removed) await inside.routes.delete(route)
  for (const route of kept) {
    await inside.routes.add(route).catch((error: unknown) => {
      // Another interface's way there stays.
      if (!(error instanceof LinuxError && error.code === 'EEXIST')) throw error
    })
  }
}
