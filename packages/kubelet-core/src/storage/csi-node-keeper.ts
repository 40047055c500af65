// Keeps what the API server knows of this node's CSI drivers: the CSINode object, an annotation and labels of the Node.
import {
  csiNodes,
  isAlreadyExists,
  isConflict,
  isNotFound,
  type KubeClient,
  nodes,
  strategicPatch,
} from '@nodelet/kube-client'
import type { CSINode } from 'kubernetes-types/storage/v1.d.ts'
import type { NodeInfo } from '@nodelet/csi-node'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import { untilDone } from '../retry.ts'
import { adopted, driverEntry, isOwn, newCsiNode, nodeChanges, withDriver } from './csi-node-object.ts'

export interface CsiNodeKeeperOptions {
  client: KubeClient
  nodeName: string
  /** Told when the CSINode is there. */
  ready(): void
  clock: Clock
  log: Logger
}

export interface CsiNodeKeeper extends AsyncDisposable {
  /** The Node is in the API: the CSINode is made, or adopted. */
  start(): void
  /** Fulfilled when it is there; never without `start`. */
  readonly initialized: Promise<void>
  /** Once `start` was called: fulfilled when it is there, or does not come at once. */
  settled(): Promise<void>
  /** Why the node is not ready. */
  problem(): string | undefined
  /** A driver is used. @throws Error: then it is not */
  add(driver: string, info: NodeInfo, signal: AbortSignal): Promise<void>
  /** A driver is gone. Its labels stay. */
  remove(driver: string, signal: AbortSignal): Promise<void>
}

const [firstMs, longestMs] = [30, 60_000]
/** How long the node's first word waits for it. */
const settleMs = 1000
/** Tries to change an object that others change, too. */
const changeTries = 4

export function createCsiNodeKeeper(options: CsiNodeKeeperOptions): CsiNodeKeeper {
  const { client, nodeName, ready, clock, log } = options
  const closing = new AbortController()
  const initialized = Promise.withResolvers<void>()
  let isInitialized = false
  let work: Promise<void> | undefined
  /** One change at a time. */
  let tail: Promise<unknown> = Promise.resolve()

  const uidOfNode = async (signal: AbortSignal): Promise<string> =>
    (await client.get(nodes, { name: nodeName }, { signal })).metadata?.uid ?? ''

  const ensure = async (signal: AbortSignal): Promise<CSINode> => {
    const uid = await uidOfNode(signal)
    try {
      const there = await client.get(csiNodes, { name: nodeName }, { signal })
      if (isOwn(there, uid)) {
        const changed = adopted(there, nodeName, uid)
        return changed ? await client.update(csiNodes, changed, { signal }) : there
      }
      const { uid: old = '' } = there.metadata ?? {}
      await client.delete(csiNodes, { name: nodeName }, { preconditions: { uid: old }, signal })
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
    try {
      return await client.create(csiNodes, newCsiNode(nodeName, uid), { signal })
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
      return client.get(csiNodes, { name: nodeName }, { signal })
    }
  }

  const change = async (name: string, info: NodeInfo | undefined, signal: AbortSignal): Promise<void> => {
    for (let left = changeTries; ; left--) {
      try {
        const wanted = withDriver(await ensure(signal), name, info && driverEntry(name, info))
        if (wanted) await client.update(csiNodes, wanted, { signal })
        return
      } catch (error) {
        if (!isConflict(error) || left === 1) throw error
      }
    }
  }

  const tellNode = async (name: string, info: NodeInfo | undefined, signal: AbortSignal): Promise<void> => {
    const changes = nodeChanges(await client.get(nodes, { name: nodeName }, { signal }), name, info)
    if (changes) await client.patch(nodes, { name: nodeName }, strategicPatch({ metadata: changes }), { signal })
  }

  const inTurn = async (signal: AbortSignal, task: (signal: AbortSignal) => Promise<void>): Promise<void> => {
    const any = AbortSignal.any([signal, closing.signal])
    const result = tail.then(async () => {
      any.throwIfAborted()
      await task(any)
    })
    tail = result.catch(() => undefined) // its caller is told
    return result
  }

  return {
    start() {
      work ??= untilDone(async () => ensure(closing.signal), {
        firstMs,
        longestMs,
        clock,
        signal: closing.signal,
        onError: (error, again) => log.warn({ err: error, again }, 'the CSINode of this node is not there yet'),
      }).then(
        () => {
          isInitialized = true
          initialized.resolve()
          ready()
        },
        () => undefined, // closed before
      )
    },
    initialized: initialized.promise,
    async settled() {
      if (!work || isInitialized) return
      const { promise, resolve } = Promise.withResolvers<void>()
      const cancel = clock.after(settleMs, resolve)
      await Promise.race([initialized.promise, work, promise])
      cancel()
    },
    problem: () => (isInitialized ? undefined : 'CSINode is not yet initialized'),
    add: async (driver, info, signal) =>
      inTurn(signal, async (any) => {
        await tellNode(driver, info, any)
        await change(driver, info, any)
      }),
    remove: async (driver, signal) =>
      inTurn(signal, async (any) => {
        await change(driver, undefined, any)
        await tellNode(driver, undefined, any)
      }),
    async [Symbol.asyncDispose]() {
      closing.abort(new Error('the kubelet stops'))
      await work
      await tail
    },
  }
}
