// Attempts of one probe counted up to a verdict. Pure.
import type { ProbeSettings } from './settings.ts'
import type { ProbeKind } from './types.ts'

/** Equal attempts in a row, and the verdict so far. */
export interface Tally {
  verdict: boolean | undefined
  last: boolean | undefined
  run: number
  /** Nothing more is tried: startup has ended, or liveness has failed. */
  done: boolean
}

export const emptyTally: Tally = { verdict: undefined, last: undefined, run: 0, done: false }

/** The tally after one more attempt. */
export function count(
  tally: Tally,
  success: boolean,
  kind: ProbeKind,
  { successThreshold, failureThreshold }: Pick<ProbeSettings, 'successThreshold' | 'failureThreshold'>,
): Tally {
  const run = tally.last === success ? tally.run + 1 : 1
  if (run < (success ? successThreshold : failureThreshold)) return { ...tally, last: success, run }
  const done = kind === 'startup' || (kind === 'liveness' && !success)
  return { verdict: success, last: success, run, done }
}
