// Compares what became of packets with their row, and both with the tracer.
import type { Outcome } from '@nodelet/proxy-rules'
import { expect } from 'vitest'
import { nodeAddresses, placeAt, serverPorts, site, type Place } from './places.ts'
import { isDirect, type PacketRow } from './row.ts'
import type { Seen, Tried } from './tried.ts'

const sorted = (texts: Iterable<string>): string[] => [...new Set(texts)].sort()

/** Fails when a packet fared otherwise than its row says, or than the tracer does. */
export function check(all: readonly Tried[]): void {
  for (const [{ packet }, some] of Map.groupBy(all, ({ line }) => line)) {
    for (const tried of some) checkOne(tried)
    const { fate, isSticky, flow, from, to } = packet
    const takesOne = flow !== undefined || (isSticky && from !== 'crowd')
    if (typeof fate !== 'object' || !('reaches' in fate) || fate.isLost || takesOne) continue
    const servers = some.flatMap((tried) => tried.seen.map((one) => serverOf(one, tried)))
    if (packet.sample !== undefined) {
      const told = `from ${from} to ${to}: different endpoints`
      expect(new Set(servers).size, told).toBeGreaterThan(0.8 * likelyDifferent(fate.reaches.length, servers.length))
      continue
    }
    expect(sorted(servers), `from ${from} to ${to}: all endpoints`).toEqual(sorted(fate.reaches))
  }
}

function checkOne(tried: Tried): void {
  const { line, family, protocol } = tried
  const { packet } = line
  const told = `from ${packet.from} to ${packet.to}, ${family} ${protocol}`
  checkFate(tried, told)
  if (tried.traced) checkTrace(tried, tried.traced, told)
  if (packet.isSticky) {
    const perSource = Map.groupBy(tried.seen, ({ source }) => source)
    for (const [source, seen] of perSource)
      expect(sorted(seen.map((one) => serverOf(one, tried))), `${told}, ${source}`).toHaveLength(1)
  }
  if (packet.evenly !== undefined) checkShares(tried, packet.evenly, told)
  if (packet.stays === undefined) return
  const isSame = tried.seen.map((one) => one.before === serverOf(one, tried))
  if (packet.stays) expect(isSame, told).toEqual(tried.seen.map(() => true))
  else expect(isSame, told).toContain(false)
}

/** To how many of these endpoints so many connections come, on average. */
const likelyDifferent = (endpoints: number, connections: number): number =>
  endpoints * (1 - (1 - 1 / endpoints) ** connections)

/** Who answered; of SCTP, where it was sent. */
function serverOf({ answer, kernel }: Seen, { protocol }: Tried): string {
  if (typeof answer === 'object') return answer.server
  if (protocol === 'SCTP' && kernel?.translation) return nameOf(kernel.translation)
  return answer
}

function nameOf({ address, port }: { address: string; port: number }): string {
  const name = placeAt(address) ?? address
  return port === serverPorts[0] ? name : `${name}:${port}`
}

function checkFate(tried: Tried, told: string): void {
  const { line, seen, family, protocol } = tried
  const { fate } = line.packet
  const servers = sorted(seen.map((one) => serverOf(one, tried)))
  if (fate === 'untouched')
    return expect(sorted(seen.map(({ kernel }) => describe(kernel))), told).toSatisfy(isUntouched)
  if (fate === 'refused' || fate === 'dropped') {
    expect(servers, told).toEqual([fate === 'refused' ? 'refused' : 'silence'])
    return
  }
  if ('status' in fate) return expect(servers, told).toEqual([String(fate.status)])
  // Whom it came to, tracking and tracer say.
  if (fate.isLost) return expect(servers, told).toEqual(['silence'])
  expect(fate.reaches, told).toEqual(expect.arrayContaining(servers))
  for (const { answer, source, kernel } of seen) {
    const isMasqueraded = fate.source === 'masqueraded'
    if (kernel) expect(kernel.masquerade, `${told}: masqueraded`).toBe(isMasqueraded)
    if (typeof answer !== 'object') expect(protocol, told).toBe('SCTP')
    else expect(isMasqueraded ? nodeAddresses(family) : [source], `${told}: as seen there`).toContain(answer.peer)
  }
}

function checkShares(tried: Tried, times: number, told: string): void {
  const perServer = Map.groupBy(tried.seen, (one) => serverOf(one, tried))
  const share = 1 / perServer.size
  const sixDeviations = 6 * Math.sqrt(times * share * (1 - share))
  for (const [server, { length }] of perServer)
    expect(Math.abs(length - times * share), `${told}: share of ${server}`).toBeLessThan(sixDeviations)
}

/** Where connection tracking cannot tell, a packet of the same line over UDP does. */
const isUntouched = (kinds: readonly string[]): boolean =>
  kinds.every((kind) => kind === 'unknown' || kind === 'accept, masquerade: false')

function describe(outcome: Outcome | undefined): string {
  if (!outcome) return 'unknown'
  const { verdict, translation, masquerade } = outcome
  if (verdict !== 'accept') return verdict
  return `accept${translation ? ` to ${nameOf(translation)}` : ''}, masquerade: ${masquerade}`
}

function checkTrace({ seen, line: { packet } }: Tried, traced: readonly Outcome[], told: string): void {
  const possible = sorted(traced.map(describe))
  for (const { kernel } of seen) if (kernel) expect(possible, `${told}: the tracer`).toContain(describe(kernel))
  // A flow goes on as its first packet went, unless the node has forgotten that.
  if (packet.flow === undefined || packet.state !== undefined)
    expect(possible, `${told}: the tracer`).toEqual(sorted(meant(packet)))
}

function meant({ fate, to }: PacketRow): string[] {
  if (fate === 'refused') return ['reject']
  if (fate === 'dropped') return ['drop']
  if (fate === 'untouched' || 'status' in fate || isDirect(to)) return ['accept, masquerade: false']
  const masquerade = fate.source === 'masqueraded'
  return fate.reaches.map((server) => {
    const [name = '', port = String(serverPorts[0])] = server.split(':')
    return `accept to ${nameOf({ address: site(name as Place).address.IPv4, port: Number(port) })}, masquerade: ${masquerade}`
  })
}
