// Starting the program of a container that is made.
import { CriError } from '@nodelet/cri-api'
import { entryOf, locked, note, runcOf } from './context.ts'
import type { Context } from './context.ts'
import { crashPoint } from '../crash-points.ts'
import { stateName } from './status.ts'
import { deleteFromRuntime } from './runtime-delete.ts'

/**
 * Starts a created container. When runc cannot, the container ends with 128 and reason `StartError`.
 *
 * @throws CriError NOT_FOUND, or FAILED_PRECONDITION in any state but created.
 */
export async function start(context: Context, id: string, signal?: AbortSignal): Promise<void> {
  const entry = entryOf(context, id)
  await locked(entry, async () => {
    const { phase, removing } = entry.record
    if (phase !== 'created' || removing) {
      throw new CriError(
        'FAILED_PRECONDITION',
        `container ${id} is ${removing ? 'being removed' : `in ${stateName(phase)} state`}: only a created one starts`,
      )
    }
    signal?.throwIfAborted()
    const runc = runcOf(context, entry.record)
    crashPoint('container/starting')
    try {
      // Not abortable: half a start would be neither created nor running.
      await runc.start(id, { hasHooks: entry.record.hasStartHooks ?? false, init: entry.record.init })
    } catch (error) {
      await deleteFromRuntime(context, id, runc)
      const now = Date.now()
      const message = error instanceof Error ? error.message : String(error)
      const ended = { finishedAt: now, exitCode: 128, reason: 'StartError', message }
      await note(context, entry, { phase: 'exited', ...ended })
      entry.exited.resolve()
      context.emit({ type: 'stopped', container: entry.record })
      throw error
    }
    crashPoint('container/started')
    await note(context, entry, { phase: 'running', startedAt: Date.now() }) // it runs, whatever the disk says
    crashPoint('container/running')
    context.emit({ type: 'started', container: entry.record })
  })
}
