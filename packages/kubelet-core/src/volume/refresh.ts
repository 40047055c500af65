// Keeps the volumes of running pods fresh: what they show changes, and tokens and certificates end.
import type { ChangingKind, ReferredObject } from '../objects.ts'
import type { FileSource, VolumePlan } from './plan.ts'
import { failureEvents } from './types.ts'
import { inTurn, type Context, type Entry } from './entry.ts'
import { setUpAll } from './set-up-all.ts'

const retryMs = 10_000

const longestTimerMs = 2 ** 31 - 1

/** Of what the pods' volumes are made. */
export function* shownBy({ entries }: Context): Iterable<ReferredObject> {
  for (const { pod, plans } of entries.values()) {
    const namespace = pod.metadata?.namespace ?? 'default'
    for (const source of plans.flatMap((plan) => (plan.kind === 'files' ? plan.sources : []))) {
      if (source.kind === 'ConfigMap' || source.kind === 'Secret')
        yield { namespace, kind: source.kind, name: source.name }
    }
  }
}

/** An object changed: pods that show it are brought up to date. */
export function spread(context: Context, kind: ChangingKind, namespace: string, name: string): void {
  const isOfBundle = kind === 'ClusterTrustBundle'
  const shows = (source: FileSource): boolean => {
    // Which ones a signer has, and which of them are chosen, may have changed: bundles are few, and change rarely.
    if (isOfBundle) return source.kind === 'trustAnchors'
    return source.kind === kind && source.name === name
  }
  for (const entry of context.entries.values()) {
    if (!isOfBundle && (entry.pod.metadata?.namespace ?? 'default') !== namespace) continue
    refresh(
      context,
      entry,
      entry.plans.filter((plan) => plan.kind === 'files' && plan.sources.some(shows)),
    )
  }
}

/** There are new ones, or there will be none. */
export function renewCertificates(context: Context, podUid: string): void {
  const entry = context.entries.get(podUid)
  if (!entry) return
  const shows = ({ kind }: FileSource): boolean => kind === 'podCertificate'
  refresh(
    context,
    entry,
    entry.plans.filter((plan) => plan.kind === 'files' && plan.sources.some(shows)),
  )
}

function refresh(context: Context, entry: Entry, plans: readonly VolumePlan[]): void {
  if (plans.length === 0) return
  const waiting = entry.stale.size > 0
  for (const plan of plans) entry.stale.add(plan.name)
  if (waiting) return
  void inTurn(entry, async () => {
    const stale = entry.plans.filter((plan) => entry.stale.has(plan.name) && entry.ready.has(plan.name))
    entry.stale.clear()
    try {
      await setUpAll(context, entry, stale, context.closing.signal)
    } catch (error) {
      if (context.closing.signal.aborted) return
      const fields = { err: error, node: context.nodeName, pod: entry.pod.metadata?.uid }
      context.log.warn(fields, 'a volume could not be brought up to date: it keeps its files')
      for (const event of failureEvents(error)) context.tell(entry.pod, event)
      for (const plan of stale) entry.ready.set(plan.name, context.clock.now() + retryMs)
    }
    schedule(context, entry)
  })
}

export function schedule(context: Context, entry: Entry): void {
  clearTimeout(entry.timer)
  const due = Math.min(Infinity, ...entry.ready.values())
  if (due === Infinity || context.closing.signal.aborted) return
  const delay = Math.min(Math.max(due - context.clock.now(), 0), longestTimerMs)
  entry.timer = setTimeout(() => {
    const now = context.clock.now()
    const stale = entry.plans.filter((plan) => (entry.ready.get(plan.name) ?? Infinity) <= now)
    if (stale.length > 0) refresh(context, entry, stale)
    else schedule(context, entry)
  }, delay)
  entry.timer.unref()
}
