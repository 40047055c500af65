// Work in slices: others get their turns, the signal ends it, and what was taken and not brought to its end comes again.
import type { KubeObject, WatchEvent } from '@nodelet/kube-client'
import type { Service } from 'kubernetes-types/core/v1.d.ts'
import { expect, test, vi } from 'vitest'
import type { RuleBackend } from '../src/apply/backend.ts'
import { createFamilyProxier } from '../src/family-proxier.ts'
import type { ServiceGraph } from '../src/graph/service-graph.ts'
import { silentLogger } from '../src/log.ts'
import { createProxyMetrics } from '../src/metrics/proxy-metrics.ts'
import { createRunner } from '../src/runner.ts'
import { finish, inSlices, type Steps } from '../src/slices.ts'
import { startTracker, type Tracker } from '../src/tracker.ts'
import { facts } from './changing-cluster.ts'

/** Steps that each last longer than a slice. */
function* slow(count: number, ended: () => void): Steps<number> {
  try {
    for (let done = 0; done < count; done += 1) {
      const end = performance.now() + 5
      while (performance.now() < end);
      yield
    }
    return count
  } finally {
    ended()
  }
}

test('others have their turn after each slice, and an abort ends the work between two', async () => {
  let [turns, ends] = [0, 0]
  const count = (): void => {
    turns += 1
    if (ends === 0) setImmediate(count)
  }
  setImmediate(count)
  expect(await inSlices(slow(4, () => (ends += 1)))).toBe(4)
  expect(turns).toBeGreaterThanOrEqual(4)

  const closing = new AbortController()
  const reason = new Error('enough')
  setImmediate(() => closing.abort(reason))
  await expect(
    inSlices(
      slow(1000, () => (ends += 1)),
      closing.signal,
    ),
  ).rejects.toBe(reason)
  expect(ends).toBe(2)
  const untouched = slow(1, () => {})
  await expect(inSlices(untouched, closing.signal)).rejects.toBe(reason)
  expect(untouched.next().done).toBe(true)
})

const service = (name: string, port: number, version: number): Service => ({
  metadata: { namespace: 'shop', name, uid: name, resourceVersion: String(version) },
  spec: { clusterIP: '10.96.0.1', ports: [{ port }] },
})

/** An API server of Services alone. */
function createServer(names: readonly string[]): { start(onChange?: () => void): Tracker; put(one: Service): void } {
  const watches = new Set<(event: WatchEvent<KubeObject>) => void>()
  const services = names.map((name) => service(name, 80, 1))
  const client = {
    list: ({ plural }: { plural: string }) =>
      Promise.resolve({ metadata: { resourceVersion: '1' }, items: plural === 'services' ? [...services] : [] }),
    async *watch({ plural }: { plural: string }, { signal }: { signal: AbortSignal }) {
      const events: WatchEvent<KubeObject>[] = []
      let wake = (): void => {}
      signal.addEventListener('abort', () => wake())
      if (plural === 'services') watches.add((event) => (events.push(event), wake()))
      while (!signal.aborted) {
        yield* events.splice(0)
        await new Promise<void>((resolve) => (wake = resolve))
      }
    },
  }
  return {
    start: (onChange = () => {}) =>
      startTracker({
        client: client as unknown as Parameters<typeof startTracker>[0]['client'],
        nodeName: 'here',
        followServiceCIDRs: false,
        log: silentLogger,
        onChange,
      }),
    put: (object) => {
      for (const tell of watches) tell({ type: 'MODIFIED', object })
    },
  }
}

const turns = async (): Promise<void> => {
  for (let n = 0; n < 5; n += 1) await new Promise((resolve) => setImmediate(resolve))
}

test('a change while changes are being taken comes with these or with the next, and what was left half-taken comes again', async () => {
  const server = createServer(['a', 'b'])
  await using tracker = server.start()
  const feed = tracker.openFeed()
  await tracker.synced
  const first = feed.takeInTurn()
  first.next()
  // Service a has been taken, and b has not.
  server.put(service('a', 81, 2))
  server.put(service('b', 82, 2))
  await turns()
  const { changes } = finish(first)
  const portOf = (key: string): number | undefined => changes.get(key)?.service?.spec?.ports?.[0]?.port
  expect([portOf('shop/a/'), portOf('shop/b/')]).toEqual([80, 82])
  const half = feed.takeInTurn()
  half.next()
  half.return(undefined as never)
  const next = finish(feed.takeInTurn()).changes
  expect(next.get('shop/a/')?.service?.spec?.ports?.[0]?.port).toBe(81)
  expect(finish(feed.takeInTurn()).changes.size).toBe(0)
})

/** A kernel that takes graphs, when it is let. */
function createGate(): { backend: RuleBackend; loaded: ServiceGraph[]; asked: Promise<void>; open(): void } {
  const [asked, opened] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const loaded: ServiceGraph[] = []
  const backend: RuleBackend = {
    family: 'IPv4',
    load: async (graph, _facts, _changed, signal) => {
      asked.resolve()
      await opened.promise
      signal?.throwIfAborted()
      loaded.push(graph)
    },
    isRenewed: () => true,
    wasFlushed: () => Promise.resolve(true),
    cleanUp: () => Promise.resolve(),
  }
  return { backend, loaded, asked: asked.promise, open: () => opened.resolve() }
}

test('a change that comes during a load, and a flush seen during one, make a load of their own', async () => {
  const server = createServer(['a'])
  const gate = createGate()
  const metrics = createProxyMetrics('iptables', () => [])
  const proxier = createFamilyProxier({
    backend: gate.backend,
    facts,
    counts: () => false,
    netns: undefined,
    metrics,
    log: silentLogger,
  })
  const full: boolean[] = []
  const { load } = gate.backend
  gate.backend.load = (graph, some, changed, signal) => {
    full.push(changed === undefined)
    return load(graph, some, changed, signal)
  }
  const runner = createRunner({
    work: async (signal) => proxier.sync(await inSlices(feed.takeInTurn(), signal), signal),
    pauseMs: 0,
    retryMs: 1,
    longestRetryMs: 1,
    onFailure: () => {},
  })
  await using tracker = server.start(() => runner.request())
  const feed = tracker.openFeed()
  await gate.asked
  server.put(service('a', 81, 2))
  await turns()
  gate.open()
  await runner.settled()
  expect(gate.loaded.map(({ nodes }) => nodes[0]?.port.port)).toEqual([80, 81])
  expect(full).toEqual([true, false])
  expect(await proxier.isAstray()).toBe('flushed')
  expect(await proxier.isAstray()).toBeUndefined()
  runner.request()
  await runner.settled()
  expect(full).toEqual([true, false, true])
  // Of itself nothing asks for the load that is due each hour.
  const now = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 61 * 60 * 1000)
  expect(await proxier.isAstray()).toBe('due')
  runner.request()
  await runner.settled()
  now.mockRestore()
  expect(full).toEqual([true, false, true, true])
  await runner.close()
})

test('a proxy that is closed while it compiles loads nothing, and does not call that a failure', async () => {
  const failures: unknown[] = []
  const began = Promise.withResolvers<void>()
  const runner = createRunner({
    work: async (signal) => {
      began.resolve()
      await inSlices(
        slow(1000, () => {}),
        signal,
      )
    },
    pauseMs: 0,
    retryMs: 1,
    longestRetryMs: 1,
    onFailure: (error) => void failures.push(error),
  })
  runner.request()
  const settled = expect(runner.settled()).rejects.toThrow('the proxy was closed before its rules were loaded')
  await began.promise
  await runner.close()
  await settled
  expect(failures).toEqual([])
})
