// Signals between CRI's enum, names and numbers.
import { constants } from 'node:os'
import { Signal } from '@nodelet/cri-api'

const numbers: Readonly<Record<string, number | undefined>> = {
  SIGCLD: constants.signals.SIGCHLD,
  ...constants.signals,
}

/** The status of a process as shells and CRI count it: its exit code, or 128 plus the signal's number. */
export function exitCode(code: number | null, signal: string | null): number {
  return code ?? 128 + (numbers[signal ?? ''] ?? 0)
}

/** The name of the signal that CRI asks for; undefined for its default. */
export function signalName(asked: Signal): string | undefined {
  if (asked === Signal.RUNTIME_DEFAULT) return undefined
  return Object.entries(Signal).find(([, value]) => value === asked)?.[0]
}

/** The name of a signal that is written as in an image: `15`, `TERM`, `SIGTERM`, `SIGRTMIN+3`. Undefined if none. */
export function parseSignal(text: string): string | undefined {
  if (/^\d+$/.test(text)) return Number(text) > 0 && Number(text) <= 64 ? text : undefined
  const name = text.toUpperCase().replace(/^(SIG)?/, 'SIG')
  const realtime = /^SIGRT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name)
  if (realtime) {
    const offset = Number(realtime[3] ?? 0) * (realtime[2] === '-' ? -1 : 1)
    const number = (realtime[1] === 'MIN' ? 34 : 64) + offset
    return number >= 34 && number <= 64 ? String(number) : undefined
  }
  return numbers[name] === undefined ? undefined : name
}
