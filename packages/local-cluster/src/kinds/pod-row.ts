// A pod as one row of a table. Pure.
import { isFields, listAt } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import { ageOf } from './age.ts'

const nested = (value: unknown, ...path: string[]): unknown =>
  path.reduce<unknown>((at, key) => (isFields(at) ? at[key] : undefined), value)
const number = (value: unknown): number => (typeof value === 'number' ? value : 0)
const word = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Ready, status and restarts, as kubectl's users know them. */
export function podCells(pod: ApiObject, now: number): { ready: string; status: string; restarts: string } {
  const status = isFields(pod.status) ? pod.status : {}
  const spec = isFields(pod.spec) ? pod.spec : {}
  const sidecars = new Set(
    listAt(spec, 'initContainers')
      .filter(({ restartPolicy }) => restartPolicy === 'Always')
      .map(({ name }) => name),
  )
  let total = listAt(spec, 'containers').length + sidecars.size
  let ready = 0
  let reason = word(status.reason) || word(status.phase)
  let restarts = 0
  let lastRestart = 0
  const countRestarts = (one: Fields): void => {
    restarts += number(one.restartCount)
    const finished = Date.parse(word(nested(one, 'lastState', 'terminated', 'finishedAt')))
    if (finished > lastRestart) lastRestart = finished
  }
  const inits = listAt(status, 'initContainerStatuses')
  let initializing = false
  for (const [index, one] of inits.entries()) {
    countRestarts(one)
    const isSidecar = sidecars.has(one.name)
    if (isSidecar && one.started === true) {
      if (one.ready === true) ready += 1
      continue
    }
    const terminated = nested(one, 'state', 'terminated')
    if (isFields(terminated) && terminated.exitCode === 0) continue
    if (isFields(terminated))
      reason = terminated.reason ? `Init:${word(terminated.reason)}` : `Init:${exitText(terminated)}`
    else {
      const waiting = word(nested(one, 'state', 'waiting', 'reason'))
      reason =
        waiting && waiting !== 'PodInitializing'
          ? `Init:${waiting}`
          : `Init:${index}/${listAt(spec, 'initContainers').length}`
    }
    initializing = true
    break
  }
  if (!initializing) {
    restarts = sidecarRestarts(inits, sidecars)
    let running = false
    for (const one of listAt(status, 'containerStatuses').toReversed()) {
      countRestarts(one)
      const waiting = word(nested(one, 'state', 'waiting', 'reason'))
      const terminated = nested(one, 'state', 'terminated')
      if (waiting) reason = waiting
      else if (isFields(terminated)) reason = word(terminated.reason) || exitText(terminated)
      else if (one.ready === true && isFields(nested(one, 'state', 'running'))) {
        running = true
        ready += 1
      }
    }
    if (reason === 'Completed' && running) {
      const isReady = listAt(status, 'conditions').some(
        ({ type, status: value }) => type === 'Ready' && value === 'True',
      )
      reason = isReady ? 'Running' : 'NotReady'
    }
  }
  if (pod.metadata.deletionTimestamp)
    reason = status.reason === 'NodeLost' ? 'Unknown' : isOver(status) ? reason : 'Terminating'
  if (total === 0) total = listAt(spec, 'containers').length
  const ago = lastRestart > 0 && restarts > 0 ? ` (${ageOf(new Date(lastRestart).toISOString(), now)} ago)` : ''
  return { ready: `${ready}/${total}`, status: reason, restarts: `${restarts}${ago}` }
}

const isOver = ({ phase }: Fields): boolean => phase === 'Succeeded' || phase === 'Failed'

const exitText = ({ signal, exitCode }: Fields): string =>
  number(signal) !== 0 ? `Signal:${number(signal)}` : `ExitCode:${number(exitCode)}`

function sidecarRestarts(inits: readonly Fields[], sidecars: ReadonlySet<unknown>): number {
  return inits.filter(({ name }) => sidecars.has(name)).reduce((sum, { restartCount }) => sum + number(restartCount), 0)
}
