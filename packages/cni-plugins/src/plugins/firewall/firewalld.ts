// firewalld: a pod's addresses are sources of a zone. @see firewalld.dbus(5)
import { existsSync } from 'node:fs'
import { CniError, cniCode } from '../../errors.ts'
import type { CniResult } from '../../types.ts'
import { bus, BusError, openBus, pathOf } from './bus.ts'
import type { Bus } from './bus.ts'
import { hostPrefix } from '../../host-prefix.ts'

const name = 'org.fedoraproject.FirewallD1'
const zoneCalls = { destination: name, path: '/org/fedoraproject/FirewallD1', interface: `${name}.zone` }
/** How long it may take, in milliseconds. */
const patienceMs = 25_000

/** Whether it is on the bus. */
export async function isFirewalldRunning(signal: AbortSignal): Promise<boolean> {
  const path = pathOf(process.env['DBUS_SYSTEM_BUS_ADDRESS'])
  if (path === undefined || !existsSync(path)) return false
  try {
    using open = await openBus(patient(signal))
    await open.call({ ...bus, member: 'GetNameOwner', args: [name] })
    return true
  } catch {
    signal.throwIfAborted()
    return false // no bus, or nobody of that name
  }
}

export interface Sources {
  zone: string
  ips: CniResult['ips']
}

/** Fine for those that are in the zone. @throws CniError */
export async function addSources({ zone, ips }: Sources, signal: AbortSignal): Promise<void> {
  await eachSource(ips, signal, async (open, source) => {
    try {
      await open.call({ ...zoneCalls, member: 'addSource', args: [zone, source] })
    } catch (cause) {
      if (cause instanceof BusError && cause.message.includes('ZONE_ALREADY_SET')) return
      throw failed(`failed to add the address ${source} to ${zone} zone`, cause)
    }
  })
}

/** Fine for those that are not in it. */
export async function removeSources({ zone, ips }: Sources, signal: AbortSignal): Promise<void> {
  await eachSource(ips, signal, async (open, source) => {
    try {
      await open.call({ ...zoneCalls, member: 'removeSource', args: [zone, source] })
    } catch (cause) {
      if (cause instanceof BusError && /UNKNOWN_SOURCE|ZONE_CONFLICT|INVALID_ZONE/.test(cause.message)) return
      throw failed(`failed to remove the address ${source} from ${zone} zone`, cause)
    }
  })
}

/** @throws CniError naming the first that is not in the zone */
export async function checkSources({ zone, ips }: Sources, signal: AbortSignal): Promise<void> {
  await eachSource(ips, signal, async (open, source) => {
    const isThere = await open.call({ ...zoneCalls, member: 'querySource', args: [zone, source] })
    if (isThere !== true) throw failed(`failed to find the address ${source} in ${zone} zone`)
  })
}

async function eachSource(
  ips: CniResult['ips'],
  signal: AbortSignal,
  work: (open: Bus, source: string) => Promise<void>,
): Promise<void> {
  if (ips.length === 0) return
  using open = await openBus(patient(signal)).catch((cause: Error) => {
    throw new CniError(cniCode.notAvailable, `firewall: firewalld cannot be asked: ${cause.message}`, { cause })
  })
  for (const { address } of ips) await work(open, hostPrefix(address))
}

const patient = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, AbortSignal.timeout(patienceMs)])
const failed = (message: string, cause?: unknown): CniError =>
  new CniError(cniCode.internal, `firewall: ${message}`, {
    cause,
    ...(cause instanceof Error && { details: cause.message }),
  })
