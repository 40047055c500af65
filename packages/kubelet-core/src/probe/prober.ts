// Probes of containers: when each runs, and what its attempts come to.
import { silentLogger } from '../log.ts'
import type { Logger } from '../log.ts'
import { attempt } from './attempt.ts'
import type { Attempt } from './attempt.ts'
import { probeKinds, probeSettings, sharedMoment } from './settings.ts'
import type { ProbeSettings } from './settings.ts'
import { count, emptyTally } from './tally.ts'
import type { Tally } from './tally.ts'
import { createTimetable } from './timetable.ts'
import type { Timetable } from './timetable.ts'
import type { ExecInContainer, ProbeFailure, ProbeKind, Prober, ProbeTarget, ProbeVerdict } from './types.ts'

export interface ProberOptions {
  exec: ExecInContainer
  onVerdict(verdict: ProbeVerdict): void
  onFailure(failure: ProbeFailure): void
  /** Told of an attempt that counts as success, but should be looked at: a redirect to another host. */
  onWarning?(failure: ProbeFailure): void
  /** Told of each attempt, and how long it took. */
  onAttempt?(target: ProbeTarget, kind: ProbeKind, status: Attempt['status'], seconds: number): void
  log?: Logger
  /** Of the `User-Agent` header; default `kube-probe/1.36`. */
  userAgent?: string
}

interface Probing {
  kind: ProbeKind
  /** An attempt is under way. */
  busy: boolean
  settings: ProbeSettings
  tally: Tally
}

interface Watched {
  target: ProbeTarget
  probings: Map<ProbeKind, Probing>
  ended: AbortController
}

interface Turn {
  watched: Watched
  probing: Probing
}

interface Context {
  options: ProberOptions
  log: Logger
  bornAt: number
  timetable: Timetable<Probing>
  turns: Map<Probing, Turn>
  containers: Map<string, Watched>
  running: Set<Promise<void>>
}

/** An attempt that ended in an error is made anew at once, this often in all. */
const tries = 3
const usualAgent = 'kube-probe/1.36'

/** Nothing is kept over a restart: containers that ran before are probed anew, spread over one period. */
export function createProber(options: ProberOptions): Prober {
  const context: Context = {
    options,
    log: options.log ?? silentLogger,
    bornAt: Date.now(),
    timetable: createTimetable((probing) => begin(context, probing), Date.now),
    turns: new Map(),
    containers: new Map(),
    running: new Set(),
  }
  return {
    add: (target) => add(context, target),
    remove: (containerId, kinds) => (kinds ? removeKinds(context, containerId, kinds) : remove(context, containerId)),
    hurry: (containerId) => hurry(context, containerId),
    verdict: (containerId, kind) => context.containers.get(containerId)?.probings.get(kind)?.tally.verdict,
    close: async () => {
      for (const id of context.containers.keys()) remove(context, id)
      context.timetable.close()
      await Promise.all(context.running)
    },
  }
}

function add(context: Context, target: ProbeTarget): void {
  if (context.containers.has(target.containerId)) return
  const probings = new Map<ProbeKind, Probing>()
  const watched: Watched = { target, probings, ended: new AbortController() }
  for (const kind of probeKinds) {
    const settings = probeSettings(target.container, kind)
    if (!settings) continue
    const probing = { kind, busy: false, settings, tally: emptyTally }
    probings.set(kind, probing)
    context.turns.set(probing, { watched, probing })
  }
  context.containers.set(target.containerId, watched)
  const startup = probings.get('startup')
  for (const probing of startup ? [startup] : probings.values()) plan(context, watched, probing)
}

/** The first attempt: after the initial delay. Many that run already when the agent starts are spread over their period. */
function plan(context: Context, { target }: Watched, probing: Probing): void {
  const { initialDelayMs, periodMs } = probing.settings
  const now = Date.now()
  const adopted = target.startedAt < context.bornAt && now - context.bornAt < periodMs
  const spread = adopted ? Math.random() * periodMs : 0
  context.timetable.set(probing, Math.max(now + spread, target.startedAt + initialDelayMs))
}

function remove(context: Context, containerId: string): void {
  const watched = context.containers.get(containerId)
  if (!watched) return
  context.containers.delete(containerId)
  for (const probing of watched.probings.values()) {
    context.timetable.delete(probing)
    context.turns.delete(probing)
  }
  watched.ended.abort(new Error('the container is no longer probed'))
}

function hurry(context: Context, containerId: string): void {
  const watched = context.containers.get(containerId)
  const probing = watched?.probings.get('readiness')
  if (!watched || !probing || probing.busy) return
  const startup = watched.probings.get('startup')
  if (startup && !startup.tally.verdict) return
  const now = Date.now()
  if (now >= watched.target.startedAt + probing.settings.initialDelayMs) context.timetable.set(probing, now)
}

/** What an attempt under way comes to is not told. */
function removeKinds(context: Context, containerId: string, kinds: readonly ProbeKind[]): void {
  const watched = context.containers.get(containerId)
  for (const kind of kinds) {
    const probing = watched?.probings.get(kind)
    if (!probing) continue
    watched?.probings.delete(kind)
    context.timetable.delete(probing)
    context.turns.delete(probing)
  }
}

function begin(context: Context, probing: Probing): void {
  const turn = context.turns.get(probing)
  if (!turn) return
  const startedAt = Date.now()
  probing.busy = true
  const work = probeOnce(context, turn)
    .catch((error: unknown) => {
      if (!turn.watched.ended.signal.aborted) context.log.error({ err: error }, 'a probe could not be evaluated')
    })
    .then(() => {
      context.running.delete(work)
      probing.busy = false
      if (!context.turns.has(probing) || probing.tally.done) return
      const { periodMs } = probing.settings
      context.timetable.set(probing, Math.max(sharedMoment(startedAt + periodMs, periodMs), Date.now()))
    })
  context.running.add(work)
}

async function probeOnce(context: Context, { watched, probing }: Turn): Promise<void> {
  const beganMs = performance.now()
  const result = await tryThrice(context, watched, probing)
  if (watched.ended.signal.aborted || !context.turns.has(probing)) return
  context.options.onAttempt?.(watched.target, probing.kind, result.status, (performance.now() - beganMs) / 1000)
  const success = result.status === 'success' || result.status === 'warning'
  tell(context, watched, probing, result)
  if (result.status === 'unknown') return
  const before = probing.tally.verdict
  probing.tally = count(probing.tally, success, probing.kind, probing.settings)
  const { verdict } = probing.tally
  if (verdict === undefined || verdict === before) return
  if (probing.kind === 'startup' && verdict) {
    for (const next of watched.probings.values()) if (next !== probing) plan(context, watched, next)
  }
  context.options.onVerdict({ ...about(watched, probing), success: verdict })
}

async function tryThrice(context: Context, watched: Watched, { settings }: Probing): Promise<Attempt> {
  const { exec, userAgent = usualAgent } = context.options
  const how = { exec, userAgent, timeoutMs: settings.timeoutMs, signal: watched.ended.signal }
  let result = await attempt(settings.probe, watched.target, how)
  for (let again = 1; again < tries && result.status === 'unknown'; again += 1) {
    result = await attempt(settings.probe, watched.target, how)
  }
  return result
}

function about({ target }: Watched, { kind }: Probing): Omit<ProbeVerdict, 'success'> {
  const { pod, container, containerId } = target
  return { podUid: pod.metadata?.uid ?? '', container: container.name, containerId, kind }
}

function tell(context: Context, watched: Watched, probing: Probing, { status, message }: Attempt): void {
  const facts = about(watched, probing)
  const title = `${probing.kind[0]?.toUpperCase()}${probing.kind.slice(1)} probe`
  if (status === 'failure') context.options.onFailure({ ...facts, message: `${title} failed: ${message}` })
  else if (status === 'unknown') {
    context.options.onFailure({ ...facts, message: `${title} errored and resulted in unknown state: ${message}` })
  } else if (status === 'warning') context.options.onWarning?.({ ...facts, message: `${title} warning: ${message}` })
}
