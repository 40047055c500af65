// Real servers that go gracefully: no new connections, and gone when the last one has ended.
import type { Ipvs, IpvsChange, IpvsRefusal, VirtualServerKey } from '@nodelet/linux'
import { realKey, serverKey, type Leaving } from './ipvs-plan.ts'

export interface Termination {
  /**
   * Of TCP those stay that have connections, active or not, and get no new ones; all others are deleted.
   * @throws LinuxError
   */
  leave(leaving: readonly Leaving[]): Promise<void>
  /** These serve again. */
  stay(staying: readonly Leaving[]): void
  /** Those of a virtual server that are still there. */
  of(server: VirtualServerKey): Leaving['server'][]
  /** Deletes those whose last connection has ended. @throws LinuxError */
  sweep(): Promise<void>
  /** How many are still there. */
  waiting(): number
  /** Nothing is waited for any more. */
  forget(): void
}

/** Does what is asked, apart from what is so already. @throws LinuxError the first refusal for another reason */
export async function changeServers(ipvs: Ipvs, changes: readonly IpvsChange[]): Promise<void> {
  if (changes.length === 0) return
  const refusal = (await ipvs.change(changes)).find((one) => !isDone(one))
  if (refusal) throw refusal.error
}

/** What is to go and is not there is gone. */
const isDone = ({ change, error }: IpvsRefusal): boolean =>
  change.kind.startsWith('delete') && ['ENOENT', 'ESRCH'].includes(error.code)

export function createTermination(ipvs: Ipvs): Termination {
  /** By virtual server and real server. */
  const waiting = new Map<string, Map<string, Leaving>>()

  const forget = ({ of, server }: Leaving): void => {
    const own = waiting.get(serverKey(of))
    own?.delete(realKey(server))
    if (own?.size === 0) waiting.delete(serverKey(of))
  }
  const sweep = async (servers: readonly VirtualServerKey[]): Promise<void> => {
    const found = await ipvs.realServers(servers)
    const ended: Leaving[] = []
    for (const [index, of] of servers.entries()) {
      const present = new Map(found[index]?.map((server) => [realKey(server), server]))
      for (const leaving of waiting.get(serverKey(of))?.values() ?? []) {
        const server = present.get(realKey(leaving.server))
        const connections = (server?.activeConnections ?? 0) + (server?.inactiveConnections ?? 0)
        if (connections === 0) ended.push(leaving)
      }
    }
    await changeServers(
      ipvs,
      ended.map(({ of, server }) => ({ kind: 'deleteRealServer', of, server })),
    )
    for (const one of ended) forget(one)
  }
  return {
    leave: async (leaving) => {
      const patient = leaving.filter(({ of }) => of.protocol === 'tcp')
      const hasty = leaving.filter(({ of }) => of.protocol !== 'tcp')
      // Without weight first: no connection begins between the look and the deletion.
      const changes = [
        ...hasty.map(({ of, server }): IpvsChange => ({ kind: 'deleteRealServer', of, server })),
        ...patient.map(({ of, server }): IpvsChange => ({
          kind: 'setRealServer',
          of,
          server: { ...server, weight: 0 },
        })),
      ]
      await changeServers(ipvs, changes)
      for (const one of patient) {
        const own = waiting.get(serverKey(one.of)) ?? new Map<string, Leaving>()
        waiting.set(serverKey(one.of), own.set(realKey(one.server), one))
      }
      await sweep([...new Map(patient.map(({ of }) => [serverKey(of), of])).values()])
    },
    stay: (staying) => staying.forEach(forget),
    of: (server) => [...(waiting.get(serverKey(server))?.values() ?? [])].map((one) => one.server),
    sweep: async () => sweep([...waiting.values()].flatMap((own) => [...own.values()].slice(0, 1).map(({ of }) => of))),
    waiting: () => [...waiting.values()].reduce((sum, own) => sum + own.size, 0),
    forget: () => waiting.clear(),
  }
}
