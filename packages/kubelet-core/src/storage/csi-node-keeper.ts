// Keeps what the API server knows of this node's CSI drivers: the CSINode object, an annotation and labels of the Node.
import { csiNodes, isAlreadyExists, isNotFound, type KubeClient, nodes, strategicPatch } from '@nodelet/kube-client'
import type { CSINode, CSINodeDriver } from 'kubernetes-types/storage/v1.d.ts'
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
  /** Told when it cannot be made, though the API server answers. The Go kubelet exits. */
  failed(error: Error): void
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
  /** What a driver says of the node is another: its entry in the CSINode follows, as long as it has one. */
  refresh(driver: string, info: NodeInfo, signal: AbortSignal): Promise<void>
  /** A driver is gone. Its labels stay. */
  remove(driver: string, signal: AbortSignal): Promise<void>
}

/** Between looks whether the API server answers, in milliseconds. */
const answerMs = 1000
/** To make the CSINode: 30 ms after the first try comes the second, then 8 times as long each. */
const making = { firstMs: 30, factor: 8, longestMs: Infinity, tries: 6 }
/** To change an object that others change, too. */
const changing = { firstMs: 10, factor: 5, longestMs: Infinity, tries: 4 }
/** How long the node's first word waits for it. */
const settleMs = 1000

export function createCsiNodeKeeper(options: CsiNodeKeeperOptions): CsiNodeKeeper {
  const { client, nodeName, ready, failed, clock, log } = options
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

  const answers = async (signal: AbortSignal): Promise<void> => {
    await client.get(csiNodes, { name: nodeName }, { signal }).catch((error: unknown) => {
      if (!isNotFound(error)) throw error
    })
  }

  const again = async (what: string, signal: AbortSignal, work: () => Promise<void>): Promise<void> =>
    untilDone(work, {
      ...changing,
      clock,
      signal,
      onError: (error) => log.debug({ err: error }, `${what} is tried again`),
    })

  /** @param entry none: the driver is gone @param only whether one that has no entry gets none */
  const change = async (
    name: string,
    entry: CSINodeDriver | undefined,
    signal: AbortSignal,
    only = false,
  ): Promise<void> =>
    again('a change of the CSINode', signal, async () => {
      const there = await ensure(signal)
      if (only && !there.spec.drivers.some((one) => one.name === name)) return
      const wanted = withDriver(there, name, entry)
      if (wanted) await client.update(csiNodes, wanted, { signal })
    })

  const tellNode = async (name: string, info: NodeInfo | undefined, signal: AbortSignal): Promise<void> =>
    again('a change of the Node', signal, async () => {
      const changes = nodeChanges(await client.get(nodes, { name: nodeName }, { signal }), name, info)
      if (!changes) return
      const patch = strategicPatch({ metadata: changes })
      await client.patch(nodes, { name: nodeName }, patch, { subresource: 'status', signal })
    })

  const inTurn = async (signal: AbortSignal, task: (signal: AbortSignal) => Promise<void>): Promise<void> => {
    const any = AbortSignal.any([signal, closing.signal])
    const result = tail.then(async () => {
      any.throwIfAborted()
      await task(any)
    })
    tail = result.catch(() => undefined) // its caller is told
    return result
  }

  const begin = async (): Promise<void> => {
    const { signal } = closing
    const retry = { clock, signal }
    const onError = (error: unknown, again: number): void =>
      log.warn({ err: error, again }, 'the CSINode of this node is not there yet')
    await untilDone(async () => answers(signal), { firstMs: answerMs, longestMs: answerMs, ...retry, onError })
    await untilDone(async () => ensure(signal), { ...making, ...retry, onError }).catch((cause: unknown) => {
      signal.throwIfAborted()
      throw new Error(`failed to initialize CSINode after retrying: ${(cause as Error).message}`, { cause })
    })
  }

  return {
    start() {
      work ??= begin().then(
        () => {
          isInitialized = true
          initialized.resolve()
          ready()
        },
        (error: unknown) => {
          if (!closing.signal.aborted) failed(error as Error)
        },
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
        await change(driver, driverEntry(driver, info), any)
      }),
    refresh: async (driver, info, signal) =>
      inTurn(signal, async (any) => change(driver, driverEntry(driver, info), any, true)),
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
