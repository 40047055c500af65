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

/** The signal that CRI asks for, as `parseSignal` gives it; undefined for its default. */
export function signalName(asked: Signal): string | undefined {
  const name = Object.entries(Signal).find(([, value]) => value === asked)?.[0] ?? ''
  // Real-time ones are SIGRTMINPLUS3 there, and SIGRTMIN+3 everywhere else.
  return parseSignal(name.replace('PLUS', '+').replace('MINUS', '-'))
}

/** The signal in CRI's enum, of what `parseSignal` gives; its default when it is none. */
export function criSignal(text: string): Signal {
  return byNumber.get(numberOf(text)) ?? Signal.RUNTIME_DEFAULT
}

const numberOf = (text: string): number => numbers[text] ?? Number(text)

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
  if (name === 'SIGCLD') return 'SIGCHLD' // OCI runtimes do not know the older name
  return numbers[name] === undefined ? undefined : name
}

// Of two names for one number, the one that the enum has first counts.
const byNumber = new Map(
  Object.values(Signal)
    .toReversed()
    .flatMap((signal) => {
      const name = signalName(signal)
      return name === undefined ? [] : [[numberOf(name), signal] as const]
    }),
)
