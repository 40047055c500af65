// What connection tracking knows of the packets that were sent.
import { openNetlink } from '@nodelet/linux'
import type { Flow } from '@nodelet/linux'
import type { Outcome, Protocol } from '@nodelet/proxy-rules'
import { parseAddress } from '../../src/net/address.ts'
import type { Answer } from './messages.ts'
import type { World } from './world.ts'

/** The first packet of a flow, as text. */
export const flowKey = (
  protocol: string,
  source: string,
  sourcePort: number | undefined,
  destination: string,
): string => [protocol.toLowerCase(), parseAddress(source)?.text, sourcePort, parseAddress(destination)?.text].join(' ')

/** All that the node tracks, by {@link flowKey}. */
export async function flowsIn({ netns }: World): Promise<Map<string, Flow>> {
  using netlink = openNetlink({ netns })
  const lists = await Promise.all(([4, 6] as const).map((family) => netlink.conntrack.list({ family })))
  return new Map(
    lists.flat().map((flow) => {
      const { source, sourcePort, destination } = flow.original
      return [flowKey(String(flow.protocol), source, sourcePort, destination), flow]
    }),
  )
}

export async function forgetFlows({ netns }: World): Promise<void> {
  using netlink = openNetlink({ netns })
  for (const family of [4, 6] as const) await netlink.conntrack.delete({ family })
}

/**
 * What connection tracking says that happened; what never got through is not in it.
 *
 * @param isOwn which addresses are the node's, when it is the sender: what it sends to itself is tracked before it is refused
 */
export function outcomeOf(
  protocol: Protocol,
  answer: Answer,
  flow: Flow | undefined,
  isOwn: ((address: string) => boolean) | undefined,
): Outcome | undefined {
  const isReply = typeof answer === 'object'
  if (!flow) {
    // IPVS ends the tracking as well, with a connection that it forgets: ten seconds after its end.
    if (isReply) return undefined
    // A reset of the node's own ends the tracking as well.
    if (protocol === 'TCP' && answer === 'refused') return undefined
    return { verdict: answer === 'refused' ? 'reject' : 'drop', translation: undefined, masquerade: false }
  }
  const { original, reply } = flow
  if (!isReply && isOwn?.(reply.source)) return undefined
  const isSame = reply.source === original.destination && reply.sourcePort === original.destinationPort
  return {
    verdict: 'accept',
    translation: isSame
      ? undefined
      : { address: parseAddress(reply.source)?.text ?? reply.source, port: reply.sourcePort ?? 0 },
    // Fully random: the port tells where the address does not.
    masquerade: reply.destination !== original.source || reply.destinationPort !== original.sourcePort,
  }
}
