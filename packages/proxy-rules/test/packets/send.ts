// Packets that are sent at once, and what connection tracking says of them.
import { openNetlink, type Flow } from '@nodelet/linux'
import { parseAddress } from '../../src/net/address.ts'
import { flowKey, flowsIn, outcomeOf } from './flows.ts'
import type { Answer } from './messages.ts'
import { nextPort, plan, shortMs, type Context, type Current, type StepContext } from './plan.ts'
import { sendSctp } from './sctp.ts'
import type { Results, Seen, Sent, Tried } from './tried.ts'
import type { World } from './world.ts'

export async function tryStep(context: StepContext, current: readonly Current[], results: Results): Promise<void> {
  const { world, memory, ports } = context
  const sent = current.flatMap((one) => plan(context, one, results))
  const found = await sendAll(world, sent)
  const again = new Map(
    sent.filter((one) => isDoubtful(one, found.get(one))).map((one) => [one, fromNextPort(one, ports)]),
  )
  const foundThen = await sendAll(world, [...again.values()])
  for (const one of sent) {
    const { tried, probe, memoryKey } = one
    const other = again.get(one)
    const { answer = 'silence', kernel } = (other ? foundThen.get(other) : found.get(one)) ?? {}
    tried.seen.push({ source: probe.from, answer, kernel, before: memory.get(memoryKey) })
  }
  for (const { tried, memoryKey } of sent) {
    if (!tried.line.packet.isSticky && tried.line.packet.flow === undefined) continue
    const answer = tried.seen.find(({ source }) => memoryKey.endsWith(` ${source}`))?.answer
    if (typeof answer === 'object') memory.set(memoryKey, answer.server)
  }
}

/**
 * Whether chance may have had its way: only the port tells that the node masquerades its own packet. A packet that is not masqueraded
 * gets another port where a masqueraded one of before has its own, and one that is can get the port which it has.
 */
function isDoubtful({ tried, probe }: Sent, found: Found | undefined): boolean {
  const { fate, flow } = tried.line.packet
  if (probe.room !== 'node' || flow !== undefined || found?.kernel?.verdict !== 'accept') return false
  const isMasqueraded = typeof fate === 'object' && 'reaches' in fate && fate.source === 'masqueraded'
  return found.kernel.masquerade !== isMasqueraded
}

const fromNextPort = (one: Sent, ports: Context['ports']): Sent => ({
  ...one,
  probe: { ...one.probe, sourcePort: nextPort(ports) },
})

type Found = Pick<Seen, 'answer' | 'kernel'>

async function sendAll(world: World, sent: readonly Sent[]): Promise<Map<Sent, Found>> {
  const found = new Map<Sent, Found>()
  if (sent.length === 0) return found
  const answers = new Map<Sent, Answer>()
  const send = async (some: readonly Sent[]): Promise<void> => {
    const got = await world.probe(some.map(({ probe }) => probe))
    for (const [index, one] of some.entries()) answers.set(one, got[index] ?? 'silence')
  }
  const overSctp = sent.filter(({ tried }) => tried.protocol === 'SCTP')
  const others = sent.filter(({ tried }) => tried.protocol !== 'SCTP')
  await send(others.filter(({ isFirst }) => isFirst))
  const [bySctp] = await Promise.all([sctp(world, overSctp), send(others.filter(({ isFirst }) => !isFirst))])
  const flows = new Map([...(await flowsIn(world)), ...bySctp.flows])
  const isOwn = await ownAddresses(world)
  for (const one of sent) {
    const { tried, probe, isKnown } = one
    const flow = flows.get(flowKey(tried.protocol, probe.from, probe.sourcePort, probe.to))
    const isRefused = bySctp.refused.has(probe.sourcePort)
    const answer = answers.get(one) ?? (isRefused ? 'refused' : 'silence')
    const kernel =
      isKnown || cannotTell(tried, flow)
        ? undefined
        : outcomeOf(tried.protocol, answer, flow, isOwn(probe.from) ? isOwn : undefined)
    found.set(one, { answer, kernel })
  }
  return found
}

/** A reset of the node's own, which may come late, ends the tracking of TCP. A line's packets over UDP tell. */
const cannotTell = ({ line, protocol }: Tried, flow: Flow | undefined): boolean =>
  line.packet.fate === 'untouched' && protocol === 'TCP' && !flow

/** From which ports packets were refused, and what is tracked: other packets may take longer than IPVS knows of these. */
async function sctp(world: World, sent: readonly Sent[]): Promise<{ refused: Set<number>; flows: Map<string, Flow> }> {
  if (sent.length === 0) return { refused: new Set(), flows: new Map() }
  using node = openNetlink({ netns: world.netns })
  const uplink = await node.links.get('uplink')
  const awaited = new Set(
    sent.filter(({ tried }) => tried.line.packet.fate === 'refused').map(({ probe }) => probe.sourcePort),
  )
  const where = {
    netns: world.netnsOf('outside'),
    link: 'lan',
    router: uplink?.mac ?? '',
    patienceMs: shortMs,
    awaited,
  }
  const refused = await sendSctp(
    sent.map(({ probe }) => probe),
    where,
  )
  return { refused, flows: await flowsIn(world) }
}

/** Those of links that are down, too: there IPVS mode has the addresses of Services. */
async function ownAddresses({ netns }: World): Promise<(address: string) => boolean> {
  using node = openNetlink({ netns })
  const found = await node.addresses.list()
  const own = new Set(found.map(({ address }) => parseAddress(address.split('/')[0])?.text))
  return (address) => own.has(parseAddress(address)?.text)
}
