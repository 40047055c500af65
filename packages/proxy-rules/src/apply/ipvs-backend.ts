// Keeps the rules in IPVS: virtual servers, a dummy device with their addresses, IP sets, and rules of iptables that look into them.
import { openNetlink } from '@nodelet/linux'
import type { IptablesProgram } from '../iptables/program.ts'
import { iptablesText } from '../iptables/text.ts'
import { compileIpvsInTurn } from '../ipvs/compile.ts'
import { createIpvsLedger, type IpvsLedger } from '../ipvs/ledger.ts'
import { dummyDevice, type IpvsProgram, type VirtualServer } from '../ipvs/program.ts'
import { excludedRanges, ipvsStyleText, type IpvsSettings } from '../ipvs/style.ts'
import type { Logger } from '../log.ts'
import { cidrContains, parseAddress, type Cidr } from '../net/address.ts'
import { inSlices } from '../slices.ts'
import type { RuleBackend } from './backend.ts'
import { cleanUp } from './cleanup.ts'
import type { Iptables } from './iptables-restore.ts'
import { removeIpvsOf } from './ipvs-cleanup.ts'
import { isWhole, printedRules } from './ipvs-look.ts'
import { kernelServer, planServersInTurn, planSetsInTurn, serverKey, setChanges } from './ipvs-plan.ts'
import type { HeldServer, ServerPair, ServerPlan, SetPlan } from './ipvs-plan.ts'
import { dummyAddresses, ensureDummy, heldServers, withPrefix } from './ipvs-state.ts'
import { changeServers, createTermination } from './ipvs-termination.ts'
import { ipvsJumps, withMissingJumps } from './jumps.ts'

export interface IpvsBackendOptions {
  iptables: Iptables
  settings: IpvsSettings
  netns: string | undefined
  log: Logger
  /** Milliseconds between looks whether real servers that are to go have lost their last connection; default 1 minute. */
  terminationPeriodMs?: number | undefined
}

/** What is in the kernel. */
interface Committed {
  program: IpvsProgram
  ledger: IpvsLedger
}

interface Steps {
  sets: SetPlan
  servers: ServerPlan
  /** Of the device, with their prefixes. */
  addresses: { added: readonly string[]; removed: readonly string[] }
  glue: IptablesProgram | undefined
}

export function createIpvsBackend(options: IpvsBackendOptions): RuleBackend {
  const { iptables, settings, netns, log, terminationPeriodMs = 60_000 } = options
  const { family } = iptables
  const netlink = openNetlink({ netns })
  const { ipvs, ipsets, addresses } = netlink
  const termination = createTermination(ipvs)
  let committed: Committed | undefined
  /** Rules as they are printed since they were loaded. */
  let printed = ''
  let timer: NodeJS.Timeout | undefined
  let isClosed = false
  /** Loads, looks and terminations come one after the other. */
  let last: Promise<unknown> = Promise.resolve()

  const inTurn = <Result>(work: () => Promise<Result>): Promise<Result> => {
    const turn = last.then(work)
    // Who asked hears of a failure by `turn`.
    last = turn.catch(() => undefined)
    return turn
  }
  const sweep = async (): Promise<void> => {
    try {
      await termination.sweep()
    } catch (error) {
      log.warn({ err: error, family }, 'real servers without connections could not be deleted: it is tried again')
    }
    keepTime()
  }
  /** Sweeps as long as somebody waits. */
  const keepTime = (): void => {
    clearTimeout(timer)
    if (termination.waiting() === 0) return
    timer = setTimeout(() => void inTurn(sweep), terminationPeriodMs)
    timer.unref()
  }
  /** What is new is marked and let through before packets can come for it; what is old goes after the rules are right. */
  const perform = async ({ sets, servers, addresses: { added, removed }, glue }: Steps): Promise<void> => {
    for (const set of sets.missing) await ipsets.create(set)
    await ipsets.change(sets.changes.map(({ set, add = [] }) => ({ set, add })))
    if (glue) await loadGlue(glue)
    await changeServers(ipvs, servers.additions)
    termination.stay(servers.staying)
    if (added.length > 0) await addresses.change(dummyDevice, { add: added })
    if (removed.length > 0) await addresses.change(dummyDevice, { delete: removed })
    await ipsets.change(sets.changes.map(({ set, delete: gone = [] }) => ({ set, delete: gone })))
    await changeServers(ipvs, servers.deletions)
    await termination.leave(servers.leaving)
    keepTime()
  }
  const loadGlue = async (glue: IptablesProgram): Promise<void> => {
    await iptables.update((saved) => [iptablesText(withMissingJumps(glue, saved, ipvsJumps))])
    await iptables.update((saved) => {
      printed = printedRules(glue, saved)
      return []
    })
  }
  const loadAll = async (program: IpvsProgram): Promise<void> => {
    committed = undefined
    termination.forget()
    await ensureDummy(netlink)
    const ledger = createIpvsLedger()
    const { virtualServers, addresses: asked, entries } = await inSlices(ledger.updateInTurn(program))
    const wanted = virtualServers.flatMap(({ after }) => after ?? [])
    const present = new Set(await dummyAddresses(netlink, family))
    const bound = new Set(asked.added.map((address) => withPrefix(address, family)))
    const held = await heldServers(netlink, family, netns)
    const sets = await ipsets.list()
    await perform({
      sets: await inSlices(planSetsInTurn(program.sets, family, entries.added, sets)),
      servers: await inSlices(planServersInTurn(pairsOf(held, wanted, program.excluded))),
      addresses: { added: [...bound.difference(present)], removed: [...present.difference(bound)] },
      glue: program.glue,
    })
    committed = { program, ledger }
  }
  const loadChanges = async ({ ledger }: Committed, program: IpvsProgram): Promise<void> => {
    committed = undefined
    const { virtualServers, addresses: asked, entries, glue } = await inSlices(ledger.updateInTurn(program))
    const changes = virtualServers.filter(({ before, after }) => after || !isOthers(before?.address, program.excluded))
    const pairs = changes.map(({ before, after }): ServerPair => [before && heldAfter(before), after])
    const bind = (address: string): string => withPrefix(address, family)
    await perform({
      sets: { missing: [], changes: setChanges(program.sets, family, entries) },
      servers: await inSlices(planServersInTurn(pairs)),
      addresses: { added: asked.added.map(bind), removed: asked.removed.map(bind) },
      glue,
    })
    committed = { program, ledger }
  }
  /** How the loads so far have left it. */
  const heldAfter = (before: VirtualServer): HeldServer => {
    const server = kernelServer(before)
    const leaving = termination.of(server).map((one) => ({ ...one, weight: 0 }))
    return { server, realServers: [...before.realServers, ...leaving] }
  }
  return {
    family,
    iptables: iptables.variant,
    isRenewed: () => true,
    load: (graph, facts, changed, signal) =>
      inTurn(async () => {
        const compiled = compileIpvsInTurn(graph, facts, { ...settings, previous: committed?.program })
        const program = await inSlices(compiled, signal)
        if (changed && committed) await loadChanges(committed, program)
        else await loadAll(program)
      }),
    wasFlushed: () =>
      inTurn(async () => {
        if (!committed) return false
        const { excluded } = committed.program
        const isKept = (address: string): boolean => isOthers(address, excluded)
        const loaded = { ...committed, printed, leavingOf: termination.of, isOthers: isKept }
        return !(await isWhole(loaded, { netlink, iptables, netns }))
      }),
    isOutdated: (facts) =>
      committed !== undefined && committed.program.style !== ipvsStyleText(facts, family, settings),
    cleanUp: () =>
      inTurn(async () => {
        committed = undefined
        termination.forget()
        const excluded = excludedRanges(settings, family)
        await cleanUp(iptables)
        // It may be asked for after the end.
        using own = openNetlink({ netns })
        await removeIpvsOf(family, own, (address) => isOthers(address, excluded))
      }),
    close: () =>
      inTurn(async () => {
        clearTimeout(timer)
        if (!isClosed) netlink[Symbol.dispose]()
        isClosed = true
      }),
  }
}

const isOthers = (text: string | undefined, excluded: readonly Cidr[]): boolean => {
  const address = parseAddress(text)
  return address !== undefined && excluded.some((range) => cidrContains(range, address))
}

/** What is held and what is wanted of each; excluded ones that are not wanted are left alone. */
function* pairsOf(
  held: readonly HeldServer[],
  wanted: readonly VirtualServer[],
  excluded: readonly Cidr[],
): Generator<ServerPair> {
  const left = new Map(held.map((one) => [serverKey(one.server), one]))
  for (const server of wanted) {
    const key = serverKey(kernelServer(server))
    yield [left.get(key), server]
    left.delete(key)
  }
  for (const one of left.values()) if (!isOthers(one.server.address, excluded)) yield [one, undefined]
}
