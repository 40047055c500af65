// Ending a container: the stop signal, then SIGKILL.
import { constants } from 'node:os'
import { CriError } from '@nodelet/cri-api'
import { setTimeout as sleep } from 'node:timers/promises'
import { isAlive, killNow } from '../pids.ts'
import type { ProcessRef } from '../pids.ts'
import { RuncError } from '../runc.ts'
import { runcOf } from './context.ts'
import type { Context, Entry } from './context.ts'
import { killAll } from './runtime-delete.ts'
import { crashPoint } from '../crash-points.ts'

const KILL_WAIT_MS = 10_000

/**
 * Sends the stop signal once, waits `timeoutMs`, kills and waits for the end. With a timeout of 0 it kills at once.
 * Calls may overlap: the shortest timeout wins. Unknown containers and those that do not run are fine. When `signal`
 * aborts, the wait ends and nothing more is sent.
 *
 * @throws CriError DEADLINE_EXCEEDED when the container outlives SIGKILL by ten seconds.
 */
export async function stop(context: Context, id: string, timeoutMs: number, signal?: AbortSignal): Promise<void> {
  const entry = context.entries.get(id)
  if (!entry || entry.record.phase !== 'running') return
  signal?.throwIfAborted()
  entry.standstill?.abort(new CriError('ABORTED', `container ${id} is being stopped: there is no checkpoint`))
  if (timeoutMs > 0) {
    if (!entry.signalled) {
      entry.signalled = true
      try {
        await kill(context, entry, entry.record.stopSignal)
      } catch (error) {
        entry.signalled = false // it was not sent: the next call may
        throw error
      }
      crashPoint('container/signalled')
    }
    if (await endsWithin(entry, timeoutMs, signal)) return
  }
  await end(context, entry, signal)
}

/** Kills what there is of a container at once: a process that waits to be started, too. Others are fine. @throws as {@link stop} */
export async function endNow(context: Context, id: string): Promise<void> {
  const entry = context.entries.get(id)
  if (entry?.record.phase === 'created') await end(context, entry)
  else await stop(context, id, 0)
}

async function end(context: Context, entry: Entry, signal?: AbortSignal): Promise<void> {
  const { id } = entry.record
  await kill(context, entry, 'SIGKILL')
  crashPoint('container/killed')
  if (await endsWithin(entry, KILL_WAIT_MS, signal)) return
  // It is dead, but its monitor does not say so, or the OCI runtime is slow to delete it.
  const { init, monitor } = entry.record
  if (init && !isAlive(init)) {
    if (monitor && isAlive(monitor)) killNow(monitor.pid)
    if (await endsWithin(entry, runcOf(context, entry.record).createLimitMs, signal)) return
    throw new CriError('DEADLINE_EXCEEDED', `container ${id} is dead, but its end could not be stored: stop it again`)
  }
  throw new CriError(
    'DEADLINE_EXCEEDED',
    `container ${id} still runs ${KILL_WAIT_MS / 1000} s after SIGKILL: a process may be stuck in the kernel, see its stack in /proc`,
  )
}

/** SIGKILL goes to all when the first process's end would leave others; they would hold the output open. */
async function kill(context: Context, entry: Entry, name: string): Promise<void> {
  const { id, init, ownPidNamespace } = entry.record
  const all = name === 'SIGKILL' && !ownPidNamespace
  if (!all && init && name in constants.signals) return signalProcess(init, name as NodeJS.Signals)
  try {
    const runc = runcOf(context, entry.record)
    await (all ? killAll(context, id, runc) : runc.kill(id, name))
  } catch (error) {
    // It ended by itself meanwhile: its exit is on the way.
    if (!(error instanceof RuncError) || error.code === 'FAILED') throw error
  }
}

/** What runc would do, without the time that its start takes. Fine when the process has ended. */
function signalProcess(target: ProcessRef, name: NodeJS.Signals): void {
  if (!isAlive(target)) return
  try {
    process.kill(target.pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

async function endsWithin(entry: Entry, ms: number, signal: AbortSignal | undefined): Promise<boolean> {
  const timer = new AbortController()
  const signals = signal ? AbortSignal.any([timer.signal, signal]) : timer.signal
  try {
    return await Promise.race([
      entry.exited.promise.then(() => true),
      sleep(Math.min(ms, 2 ** 31 - 1), false, { signal: signals }),
    ])
  } finally {
    timer.abort()
  }
}
