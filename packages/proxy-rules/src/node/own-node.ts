// What the API server says of the proxy's own Node before the proxy starts.
import { nodes, startInformer, type KubeClient } from '@nodelet/kube-client'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import type { Logger } from '../log.ts'
import { parseAddress } from '../net/address.ts'

export interface OwnNode {
  /** The first is the primary one; at most one of each family; none when nobody has told them in time. */
  nodeIPs: string[]
  podCIDRs: string[]
}

export interface OwnNodeOptions {
  client: Pick<KubeClient, 'list' | 'watch'>
  nodeName: string
  /** Whether to wait for addresses, 30 s at most. */
  needsIPs: boolean
  /** Whether to wait for the ranges of its pods, 5 min at most. */
  needsPodCIDRs: boolean
  signal?: AbortSignal | undefined
  log: Logger
}

const addressesMs = 30_000
const podCIDRsMs = 5 * 60_000

/** All internal addresses before the external ones; of each family the first. Pure. */
export function addressesOfNode(node: Node | undefined): string[] {
  const all = node?.status?.addresses ?? []
  const texts = ['InternalIP', 'ExternalIP'].flatMap((wanted) =>
    all.flatMap(({ type, address }) => (type === wanted ? (parseAddress(address) ?? []) : [])),
  )
  const [first] = texts
  const second = texts.find(({ family }) => family !== first?.family)
  return [first, second].flatMap((address) => address?.text ?? [])
}

/**
 * Waits until the Node says what is needed. Without addresses the proxy goes on.
 * @throws Error when the ranges of its pods are needed and do not come; the signal's reason
 */
export async function readOwnNode(options: OwnNodeOptions): Promise<OwnNode> {
  const { client, nodeName, needsIPs, needsPodCIDRs, signal, log } = options
  if (!needsIPs && !needsPodCIDRs) return { nodeIPs: [], podCIDRs: [] }
  await using informer = startInformer<Node>(client, nodes, {
    fieldSelector: `metadata.name=${nodeName}`,
    onError: (error) => log.warn({ err: error }, 'the Node could not be read: it is tried again'),
  })
  const current = (): Node | undefined => informer.get({ name: nodeName })
  const until = async (isThere: () => boolean, ms: number): Promise<boolean> => {
    const limit = AbortSignal.timeout(ms)
    const ended = signal ? AbortSignal.any([signal, limit]) : limit
    const { promise, resolve } = Promise.withResolvers<void>()
    const look = (): void => {
      if (isThere()) resolve()
    }
    const unsubscribe = informer.subscribe({ added: look, updated: look })
    const stop = (): void => resolve()
    ended.addEventListener('abort', stop, { once: true })
    if (!ended.aborted) await promise
    ended.removeEventListener('abort', stop)
    unsubscribe()
    signal?.throwIfAborted()
    return isThere()
  }
  if (needsIPs && !(await until(() => addressesOfNode(current()).length > 0, addressesMs)))
    log.warn({ nodeName }, 'the Node has no address yet: the proxy goes on without')
  const podCIDRs = (): string[] => current()?.spec?.podCIDRs ?? []
  if (needsPodCIDRs && !(await until(() => podCIDRs().length > 0, podCIDRsMs))) {
    throw new Error(
      `timeout waiting for PodCIDR allocation to configure detect-local-mode NodeCIDR: Node ${nodeName} has none`,
    )
  }
  return { nodeIPs: addressesOfNode(current()), podCIDRs: podCIDRs() }
}
